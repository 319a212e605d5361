// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/rounds-engine/rounds/sdk"
)

const (
	// life is how long an assertion counts. SMART Backend Services allow five minutes from iat to exp.
	life = 4 * time.Minute
	// early is how much it is dated back, as the server's clock may be behind.
	early = 30 * time.Second
)

// signer makes the assertions by which a client proves who it is (RFC 7523, section 3).
type signer struct {
	jose     jose.Signer
	client   string
	audience string
}

func newSigner(key, id, algorithm, client, audience string) (*signer, error) {
	k, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	var fits []jose.SignatureAlgorithm // the first if nothing else is said
	switch key := k.Key.(type) {
	case *rsa.PrivateKey:
		fits = []jose.SignatureAlgorithm{jose.RS384, jose.RS256, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	case *ecdsa.PrivateKey:
		switch key.Curve.Params().BitSize {
		case 256:
			fits = []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			fits = []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			fits = []jose.SignatureAlgorithm{jose.ES512}
		}
	}
	if fits == nil {
		return nil, sdk.Misconfigured("private_key", "is neither an RSA key nor one of the curves P-256, P-384 and P-521")
	}
	switch {
	case algorithm != "" && !slices.Contains(fits, jose.SignatureAlgorithm(algorithm)):
		return nil, sdk.Misconfigured("key_algorithm", "does not fit the key, with which signatures are %s", list(fits))
	case algorithm != "":
		fits = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)}
	case slices.Contains(fits, jose.SignatureAlgorithm(k.Algorithm)):
		fits = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(k.Algorithm)}
	}
	if id != "" {
		k.KeyID = id
	}
	s := &signer{client: client, audience: audience}
	s.jose, err = jose.NewSigner(jose.SigningKey{Algorithm: fits[0], Key: jose.JSONWebKey{Key: k.Key, KeyID: k.KeyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, sdk.Misconfigured("private_key", "can't sign").Because(err)
	}
	if _, err := s.assertion(time.Now()); err != nil { // as a key that is too short can't
		return nil, sdk.Misconfigured("private_key", "can't sign").Because(err)
	}
	return s, nil
}

func list(algorithms []jose.SignatureAlgorithm) string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}

// parseKey reads a JWK or PEM. Errors of the libraries may quote it, so none is shown.
func parseKey(text string) (jose.JSONWebKey, error) {
	unusable := sdk.Misconfigured("private_key", "is neither a private JWK nor a private key in PEM without a password; "+
		`it is given by value, as in secret("client_key")`)
	var k jose.JSONWebKey
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		if err := json.Unmarshal([]byte(text), &k); err != nil || k.IsPublic() || !k.Valid() {
			return k, unusable.Because(err)
		}
		return k, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return k, unusable
	}
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		k.Key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		k.Key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		k.Key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return k, unusable.Because(err)
	}
	return k, nil
}

// assertion is good for one use.
func (s *signer) assertion(now time.Time) (string, error) {
	issued := now.Add(-early)
	claims, err := json.Marshal(map[string]any{
		"iss": s.client, "sub": s.client, "aud": s.audience, "jti": rand.Text(), "iat": issued.Unix(), "exp": issued.Add(life).Unix(),
	})
	if err != nil {
		return "", sdk.Permanent("the assertion could not be written").Because(err)
	}
	signed, err := s.jose.Sign(claims)
	if err != nil {
		return "", sdk.Permanent("the assertion could not be signed").Because(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		return "", sdk.Permanent("the assertion could not be written").Because(err)
	}
	return text, nil
}
