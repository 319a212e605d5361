// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"
)

// A sealed stream is cut into chunks, each preceded by its length in four bytes. A chunk can't be changed, left out, or moved,
// and the last one says so: its number is part of what is sealed, with a mark on the last. With a key, chunks are encrypted
// (AES-256-GCM, by a key of its own for each stream, derived from key and salt); without, they end in their SHA-256.
const (
	chunk   = 1 << 20
	saltLen = 32
)

func newSalt() []byte {
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	return salt
}

func newAEAD(key, salt []byte) (cipher.AEAD, error) {
	if len(key) == 0 {
		return summed{}, nil
	}
	derived, err := hkdf.Key(sha256.New, key, salt, "rounds backup", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonceOf tells chunks apart. No two chunks of a stream have the same number, and no two streams the same key.
func nonceOf(number uint64, last bool) []byte {
	nonce := binary.BigEndian.AppendUint64(make([]byte, 3, 12), number)
	if last {
		return append(nonce, 1)
	}
	return append(nonce, 0)
}

// summed is no encryption: what is sealed can be read, but not be changed by accident.
type summed struct{}

func (summed) NonceSize() int { return 12 }
func (summed) Overhead() int  { return sha256.Size }

func (summed) Seal(dst, nonce, text, head []byte) []byte {
	h := sha256.New()
	h.Write(head)
	h.Write(nonce)
	h.Write(text)
	return h.Sum(append(dst, text...))
}

func (s summed) Open(dst, nonce, sealed, head []byte) ([]byte, error) {
	n := len(sealed) - sha256.Size
	if n < 0 || subtle.ConstantTimeCompare(s.Seal(nil, nonce, sealed[:n], head), sealed) != 1 {
		return nil, errors.New("the checksum is another")
	}
	return append(dst, sealed[:n]...), nil
}

type sealer struct {
	w      io.Writer
	head   []byte
	aead   cipher.AEAD
	number uint64
	buf    []byte
}

// newSealer takes what stands before the stream, which ends in the salt and is sealed with each chunk.
func newSealer(w io.Writer, key, head []byte) (*sealer, error) {
	aead, err := newAEAD(key, head[len(head)-saltLen:])
	return &sealer{w: w, head: head, aead: aead, buf: make([]byte, 0, chunk)}, err
}

func (s *sealer) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if len(s.buf) == chunk {
			if err := s.flush(false); err != nil {
				return n, err
			}
		}
		took := min(len(b), chunk-len(s.buf))
		s.buf, b, n = append(s.buf, b[:took]...), b[took:], n+took
	}
	return n, nil
}

// Close writes the last chunk.
func (s *sealer) Close() error { return s.flush(true) }

func (s *sealer) flush(last bool) error {
	out := make([]byte, 4, 4+len(s.buf)+s.aead.Overhead())
	out = s.aead.Seal(out, nonceOf(s.number, last), s.buf, s.head)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	s.number, s.buf = s.number+1, s.buf[:0]
	_, err := s.w.Write(out)
	return err
}

// unsealer gives what was sealed, a chunk only when all of it was checked; io.EOF only after the last chunk.
type unsealer struct {
	r      io.Reader
	head   []byte
	aead   cipher.AEAD
	number uint64
	left   bytes.Reader
	last   bool
}

func newUnsealer(r io.Reader, key, head []byte) (*unsealer, error) {
	aead, err := newAEAD(key, head[len(head)-saltLen:])
	return &unsealer{r: r, head: head, aead: aead}, err
}

func (u *unsealer) Read(b []byte) (int, error) {
	for u.left.Len() == 0 {
		if u.last {
			return 0, io.EOF
		}
		if err := u.next(); err != nil {
			return 0, err
		}
	}
	return u.left.Read(b)
}

func (u *unsealer) next() error {
	var size [4]byte
	if _, err := io.ReadFull(u.r, size[:]); err != nil {
		return cutOff(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if int64(n) > int64(chunk+u.aead.Overhead()) {
		return errBackup
	}
	sealed := make([]byte, n)
	if _, err := io.ReadFull(u.r, sealed); err != nil {
		return cutOff(err)
	}
	for _, last := range []bool{false, true} {
		text, err := u.aead.Open(nil, nonceOf(u.number, last), sealed, u.head)
		if err != nil {
			continue
		}
		if last {
			if _, err := io.ReadFull(u.r, size[:1]); !errors.Is(err, io.EOF) {
				return errBackup // something follows
			}
		}
		u.number, u.last = u.number+1, last
		u.left.Reset(text)
		return nil
	}
	if _, sum := u.aead.(summed); !sum && u.number == 0 {
		return errBackupKey
	}
	return errBackup
}

var errBackupKey = errors.New("the backup can't be read with this key: give the key that its state had when it was taken; " +
	"if this is the key, the backup is damaged")

// cutOff tells the end of the backup from errors of reading it.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBackup
	}
	return err
}
