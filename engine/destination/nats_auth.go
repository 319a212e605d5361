// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

type natsAuth struct {
	_           struct{} `doc:"How the client proves who it is: basic, token, nkey or credentials."`
	Kind        string   `hcl:"kind,label"`
	Username    string   `hcl:"username,optional" doc:"For basic."`
	Password    string   `hcl:"password,optional,sensitive" doc:"For basic."`
	Token       string   `hcl:"token,optional,sensitive" doc:"For token."`
	Seed        string   `hcl:"seed,optional,sensitive" doc:"For nkey: the seed of the user's key, SU…."`
	Credentials string   `hcl:"credentials,optional,sensitive" doc:"For credentials: what a .creds file holds, as from secret()."`
}

// option checks the block and makes of it what the client is given; nil: nothing.
func (a *natsAuth) option() (nats.Option, error) {
	if a == nil {
		return nil, nil
	}
	at := "auth." + a.Kind
	takes, ok := map[string][]string{
		"basic": {"username", "password"}, "token": {"token"}, "nkey": {"seed"}, "credentials": {"credentials"},
	}[a.Kind]
	if !ok {
		return nil, blame(at, "is not a way to authenticate; there are basic, token, nkey and credentials")
	}
	if err := onlyGiven(at, takes, []given{{"username", a.Username}, {"password", a.Password}, {"token", a.Token}, {"seed", a.Seed},
		{"credentials", a.Credentials}}); err != nil {
		return nil, err
	}
	switch a.Kind {
	case "basic":
		return nats.UserInfo(a.Username, a.Password), nil
	case "token":
		return nats.Token(a.Token), nil
	case "nkey":
		key, err := nkeys.FromSeed([]byte(a.Seed))
		if err != nil {
			return nil, blame(at+".seed", "is not the seed of a key, as nsc and nk print it: SU and more letters and digits")
		}
		public, err := key.PublicKey()
		if err != nil || !nkeys.IsValidPublicUserKey(public) {
			return nil, blame(at+".seed", "is not the seed of a user's key, which begins with SU")
		}
		return nats.Nkey(public, key.Sign), nil
	}
	jwt, err := nkeys.ParseDecoratedJWT([]byte(a.Credentials))
	if err == nil {
		var key nkeys.KeyPair
		if key, err = nkeys.ParseDecoratedUserNKey([]byte(a.Credentials)); err == nil {
			return nats.UserJWT(func() (string, error) { return jwt, nil }, key.Sign), nil
		}
	}
	return nil, blame(at+".credentials", `is not what a .creds file holds, a JWT and a seed; it is given by value, as in secret("nats_creds")`)
}

// given is an attribute of a block whose label says which of them it takes.
type given struct{ name, value string }

// onlyGiven checks that of all attributes those that are taken are given, and no others.
func onlyGiven(at string, takes []string, all []given) error {
	for _, g := range all {
		switch taken := slices.Contains(takes, g.name); {
		case taken && g.value == "":
			return blame(at+"."+g.name, "must be given")
		case !taken && g.value != "":
			return blame(at+"."+g.name, "has no meaning here")
		}
	}
	return nil
}
