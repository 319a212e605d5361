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

	backupPartLen = 256 << 10 // read at a time
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
		var part bytes.Buffer
		for from, more := []byte(nil), true; more; {
			part.Reset()
			var err error
			if from, more, err = backupPart(txn, from, &part); err != nil {
				return fmt.Errorf("read what is backed up: %w", err)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := out.Write(part.Bytes()); err != nil {
				return fmt.Errorf("write the backup: %w", err)
			}
		}
		if err := out.Close(); err != nil {
			return fmt.Errorf("write the backup: %w", err)
		}
		return nil
	})
}

// backupPart reads from a key on, and tells which comes after. It reads no more than takes a moment: Badger keeps the logs that were in
// use when an iterator was made until it is closed, also those whose tables stand. If the process were killed then, Badger would read
// such a log again, and find in it what was deleted later, in logs that are gone: what was acknowledged would wait again (invariant 3).
func backupPart(txn *badger.Txn, from []byte, part *bytes.Buffer) (next []byte, more bool, err error) {
	it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 16})
	defer it.Close()
	var head []byte
	for it.Seek(from); it.Valid(); it.Next() {
		key := it.Item().Key()
		if part.Len() >= backupPartLen {
			return bytes.Clone(key), true, nil
		}
		err := it.Item().Value(func(value []byte) error {
			head = binary.AppendUvarint(head[:0], uint64(len(key)))
			head = binary.AppendUvarint(append(head, key...), uint64(len(value)))
			part.Write(head)
			part.Write(value)
			return nil
		})
		if err != nil {
			return nil, false, err
		}
	}
	return nil, false, nil
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
