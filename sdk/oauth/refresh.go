// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// refresh is the refresh token that is to be used next. Only the one request for a token that is under way uses it.
type refresh struct {
	token   string
	of      string // which configured token it goes back to
	saved   *sdk.Section
	unsaved bool // it can't be used: where it can't be kept, the next one could not be either, and would be lost
}

// keptToken is how a rotated token is kept. Of is a hash, by which a configured token that was changed since takes over.
type keptToken struct {
	Of    string `json:"of"`
	Token string `json:"token"`
}

func newRefresh(configured string, saved *sdk.Section) *refresh {
	sum := sha256.Sum256([]byte(configured))
	r := &refresh{token: configured, of: hex.EncodeToString(sum[:]), saved: saved, unsaved: true}
	if saved == nil {
		return r
	}
	var kept keptToken
	if json.Unmarshal(saved.Load(), &kept) == nil && kept.Of == r.of && kept.Token != "" {
		r.token, r.unsaved = kept.Token, false
	}
	return r
}

// rotate takes over the new token of an answer, if it has one.
func (r *refresh) rotate(ctx context.Context, answer []byte) error {
	raw, _ := rawjson.Get(answer, "refresh_token")
	token, ok := rawjson.Text(raw)
	if !ok || token == "" || token == r.token {
		return nil
	}
	r.token, r.unsaved = token, true
	return r.keep(ctx)
}

// keep makes the token durable, if it is not.
func (r *refresh) keep(ctx context.Context) error {
	if !r.unsaved || r.saved == nil {
		return nil
	}
	text, err := json.Marshal(keptToken{Of: r.of, Token: r.token})
	if err != nil {
		return sdk.Permanent("the refresh token could not be written").Because(err)
	}
	if err := r.saved.Save(ctx, text); err != nil {
		return sdk.Retryable("the refresh token could not be saved: %s", sdk.Safe(err).Text).Because(err)
	}
	r.unsaved = false
	return nil
}
