// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/rounds-engine/rounds/sdk"
)

// Name is what logs call a record: 16 hexadecimal digits of an HMAC-SHA256 of the pipeline and the ref, keyed by the
// state's secret. Without the secret it can't be turned back, not even by trying every identifier that may exist; with it,
// `rounds` resolves it for someone who may see the record. Invariant 6.
func Name(secret []byte, pipeline string, ref sdk.Ref) string {
	h := hmac.New(sha256.New, secret)
	var size [8]byte
	for _, part := range []string{pipeline, ref.Kind, ref.ID, ref.Args} {
		// The length goes first, so that no two records are written alike.
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Names is what the logs of an engine call records.
type Names struct {
	Secret []byte // of the state
	Clear  bool   // by kind and id, not by Name: for synthetic data only
}

// Of names a record. Without a secret it has no name: a hash without a key is turned back by trying every identifier.
func (n Names) Of(pipeline string, ref sdk.Ref) string {
	switch {
	case n.Clear && ref.Args != "":
		return ref.Kind + "/" + ref.ID + "?" + ref.Args
	case n.Clear:
		return ref.Kind + "/" + ref.ID
	case len(n.Secret) == 0:
		return ""
	}
	return Name(n.Secret, pipeline, ref)
}
