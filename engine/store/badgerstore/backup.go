// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dgraph-io/badger/v4"
)

// A backup is one line that says what it is, 32 bytes of salt, and a sealed stream (seal.go) of all keys with their values: each a
// length as a varint and as many bytes.
const (
	backupPrefix = "rounds backup, format 1"
	backupPlain  = "not encrypted"
	backupSealed = "encrypted"
)

var errBackup = errors.New("the backup is damaged or was cut off: take another one")

// Backup implements store.Admin. A backup of an encrypted state is encrypted by the same key, and can be restored with no other. As
// long as it takes, what is deleted stays on disk, and Close waits for it: ctx should bound what w may take.
func (a admin) Backup(ctx context.Context, w io.Writer) error {
	out, err := beginBackup(w, a.s.opt.EncryptionKey)
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	err = a.s.view(ctx, func(*badger.Txn) error { return checkBlocks(a.s.db) }) // else what is damaged would be left out in silence
	if err != nil {
		return fmt.Errorf("%w: restore the state from an earlier backup", err)
	}
	return a.s.view(ctx, func(txn *badger.Txn) error { // which sees the state as it is now, whatever is written meanwhile
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 16})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			key := it.Item().Key()
			err := it.Item().Value(func(value []byte) error {
				head := binary.AppendUvarint(nil, uint64(len(key)))
				head = binary.AppendUvarint(append(head, key...), uint64(len(value)))
				if _, err := out.Write(head); err != nil {
					return err
				}
				_, err := out.Write(value)
				return err
			})
			if err != nil {
				return fmt.Errorf("write the backup: %w", err)
			}
		}
		if err := out.Close(); err != nil {
			return fmt.Errorf("write the backup: %w", err)
		}
		return nil
	})
}

func beginBackup(w io.Writer, key []byte) (*sealer, error) {
	how := backupPlain
	if len(key) > 0 {
		how = backupSealed
	}
	head := fmt.Appendf(nil, "%s, of state format %d, %s\n%s", backupPrefix, format, how, newSalt())
	if _, err := w.Write(head); err != nil {
		return nil, err
	}
	return newSealer(w, key, head)
}

// openBackup reads what stands before the stream.
func openBackup(r io.Reader, key []byte) (stream io.Reader, stateFormat int, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	line, err := in.ReadSlice('\n')
	head := bytes.Clone(line)
	if err != nil || !bytes.HasPrefix(line, []byte(backupPrefix)) {
		if bytes.HasPrefix(line, []byte("rounds backup, format ")) && err == nil {
			return nil, 0, errors.New("the backup is of a newer rounds: use that one, or a newer one")
		}
		return nil, 0, errors.New("this is no backup of rounds")
	}
	var how string
	if _, err := fmt.Sscanf(string(line[len(backupPrefix):]), ", of state format %d, ", &stateFormat); err != nil || stateFormat < 1 {
		return nil, 0, errBackup
	}
	switch {
	case bytes.HasSuffix(line, []byte(", "+backupPlain+"\n")):
		how = backupPlain
	case bytes.HasSuffix(line, []byte(", "+backupSealed+"\n")):
		how = backupSealed
	default:
		return nil, 0, errBackup
	}
	switch {
	case stateFormat > format:
		return nil, 0, fmt.Errorf("the backup is of a state of format %d, and this rounds knows formats up to %d: "+
			"use the rounds that made it, or a newer one", stateFormat, format)
	case how == backupPlain:
		key = nil // it is that of the state which is made
	case how == backupSealed && len(key) == 0:
		return nil, 0, errors.New("the backup is encrypted: give the key that its state had")
	}
	head = append(head, make([]byte, saltLen)...)
	if _, err := io.ReadFull(in, head[len(head)-saltLen:]); err != nil {
		return nil, 0, errBackup
	}
	out, err := newUnsealer(in, key, head)
	return out, stateFormat, err
}
