// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger encrypts tables and logs by data keys that it makes itself, a new one every ten days, and keeps these in the key registry, each
// encrypted by the key that is given. The registry begins with 16 random bytes, the initial counter of AES-CTR, and a known text
// encrypted with it, by which a wrong key is told (see key_registry.go in Badger).
const (
	keyRegistry = badger.KeyRegistryFileName
	keyText     = "Hello Badger"
)

// checkKey says what is wrong with a key.
func checkKey(dir string, key []byte) error {
	switch len(key) {
	case 0, 16, 24, 32:
	default:
		return fmt.Errorf("the encryption key has %d bytes: give one of 32 random bytes (16 and 24 are taken too)", len(key))
	}
	opens, found, err := registryOpens(dir, key)
	if err != nil || !found || opens {
		return err
	}
	plain, _, err := registryOpens(dir, nil)
	switch {
	case err != nil:
		return err
	case plain:
		return fmt.Errorf("the state in %s is not encrypted, and an encryption key is given: take a backup of it without the key, and restore "+
			"that with the key into a new directory", dir)
	case len(key) == 0:
		return fmt.Errorf("the state in %s is encrypted, and no key is given: give the one that it was made with", dir)
	}
	return fmt.Errorf("the state in %s is encrypted by another key: give the one that it was made with, or that was given to it last", dir)
}

// registryOpens says whether a key opens the registry, and whether there is one.
func registryOpens(dir string, key []byte) (opens, found bool, err error) {
	f, err := os.Open(filepath.Join(dir, keyRegistry))
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("read the key registry of the state: %w", err)
	}
	defer f.Close()
	begin := make([]byte, aes.BlockSize+len(keyText))
	if _, err := io.ReadFull(f, begin); err != nil {
		return false, true, fmt.Errorf("%s is damaged: restore the state from a backup", filepath.Join(dir, keyRegistry))
	}
	iv, text := begin[:aes.BlockSize], begin[aes.BlockSize:]
	if len(key) > 0 {
		block, err := aes.NewCipher(key)
		if err != nil {
			return false, true, err
		}
		cipher.NewCTR(block, iv).XORKeyStream(text, text)
	}
	return bytes.Equal(text, []byte(keyText)), true, nil
}

// Rekey lets the state in dir, which nobody has open, be opened by another key from now on. It writes the data keys anew and leaves
// all else, so it is quick whatever the state holds. Whoever had the old key and a copy of the files can still read these; to be
// rid of the data keys too, restore a backup into a new directory.
func Rekey(dir string, from, to []byte) error {
	if len(from) == 0 || len(to) == 0 {
		return errors.New("a state is encrypted, or made plain, by restoring a backup into a new directory: give both keys")
	}
	if !Exists(dir) {
		return fmt.Errorf("there is no state in %s", dir)
	}
	if err := checkKey(dir, from); err != nil {
		return err
	}
	if len(to) != 16 && len(to) != 24 && len(to) != 32 {
		return fmt.Errorf("the new encryption key has %d bytes: give one of 32 random bytes (16 and 24 are taken too)", len(to))
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	opt := badger.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: from, EncryptionKeyRotationDuration: 10 * 24 * time.Hour}
	registry, err := badger.OpenKeyRegistry(opt)
	if err != nil {
		return fmt.Errorf("read the key registry of the state in %s: %w", dir, err)
	}
	opt.EncryptionKey = to
	if err := badger.WriteKeyRegistry(registry, opt); err != nil {
		return fmt.Errorf("write the key registry of the state in %s: %w", dir, err)
	}
	return nil
}
