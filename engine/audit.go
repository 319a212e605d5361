// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// AuditLog is the name of the file, in the directory of the state, in which looks at content of records are written down.
const AuditLog = "audit.log"

type look struct {
	Time     time.Time `json:"time"`
	Who      string    `json:"who"`
	At       string    `json:"at"`
	Pipeline string    `json:"pipeline"`
	Record   string    `json:"record"` // its name in logs
}

// audit writes down that somebody gets to see content of a record, before it is shown: what can't be written down is not shown.
func (r *running) audit(ctx context.Context, at, pipeline string, ref sdk.Ref) (err error) {
	line, _ := json.Marshal(look{ // strings and a time always have a JSON form
		time.Now().UTC(), operate.Actor(ctx), at, pipeline, record.Name(r.state.Secret(), pipeline, ref),
	})
	r.auditing.Lock()
	defer r.auditing.Unlock()
	f, err := os.OpenFile(filepath.Join(r.engine.o.StateDir, AuditLog), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = appendWhole(f, append(line, '\n'))
		if closing := f.Close(); err == nil {
			err = closing
		}
	}
	if err != nil {
		r.engine.o.Logger.Error("what a person looks at could not be written down, so it is not shown", "error", err)
		return refusal(nil, "the audit log can't be written, so nothing is shown: look at the disk")
	}
	return nil
}

// appendWhole takes back what a disk that became full left of a line: the next would be written behind it, and be as unreadable.
func appendWhole(f *os.File, line []byte) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if n, err := f.Write(line); err != nil {
		if n > 0 {
			err = errors.Join(err, f.Truncate(end))
		}
		return err
	}
	return nil
}
