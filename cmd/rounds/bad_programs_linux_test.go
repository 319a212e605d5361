// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestInvariant8AnAdaptersProgramIsReplacedWhileItRuns, with something that is started next, or that can't be: then the log says what is
// wrong, sources that have a process go on, and so does the other when the right program is there again.
func TestInvariant8AnAdaptersProgramIsReplacedWhileItRuns(t *testing.T) {
	t.Parallel()
	b := newBadClinic(t)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	right, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(right)
	pin := fmt.Sprintf("sha256 = %q", hex.EncodeToString(sum[:]))
	// rename is how a program is replaced that runs: the system lets nobody write into it.
	replace := func(with []byte, mode os.FileMode) func(string) error {
		return func(program string) error {
			return errors.Join(os.WriteFile(program+".new", with, mode), os.Chmod(program+".new", mode), os.Rename(program+".new", program))
		}
	}
	failing := func(fault string) func(string) error {
		return func(program string) error { return os.WriteFile(badStart(program), []byte(fault), 0o600) }
	}
	another := append(bytes.Clone(right), "and more"...)
	programs := []struct {
		lane    string
		pinned  string
		replace func(program string) error
		tells   string
	}{
		{"free", "", replace(another, 0o700), fmt.Sprintf("version=%d", len(another))},
		{"pinned", pin, replace(another, 0o700), "put the right file back, or, if it was replaced on purpose, the new sha256 into the configuration"},
		{"plain", "", replace(right, 0o600), "is not executable (chmod +x)"},
		{"text", "", replace([]byte("garbage "+canaryItem), 0o700), "it is not a program for this system"},
		{"half", "", replace(right[:len(right)/2], 0o700), "adapter half: "},
		{"deleted", "", os.Remove, "there is no file"},
		{"newer", "", failing("another version of the protocol"), "use an adapter and an engine of the same version"},
		{"garbage", "", failing("garbage in place of the handshake"), "its first output is not an adapter's handshake"},
		{"ending", "", failing("exits 0"), "it ended without a handshake (exit status 0"},
	}
	tells, sound, files := map[string]string{}, []string{"other"}, map[string]string{}
	b.adapter("other", "")
	b.lane("other", "other", "", false)
	for _, p := range programs {
		files[p.lane] = b.adapter(p.lane, p.pinned)
		b.lane(p.lane, p.lane, "", false)
		tells[p.lane] = p.tells
	}
	b.lane("pinned", "beside", "", true)
	sound = append(sound, "beside")
	engine := b.run()
	b.delivers(engine, time.Minute, b.lanes...)
	for _, p := range programs {
		if err := errors.Join(p.replace(files[p.lane]), os.WriteFile(b.file(p.lane)+".end", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	b.withstands(engine, tells, sound...)
	for _, p := range programs {
		_ = os.Remove(badStart(files[p.lane])) // most have none
		if err := replace(right, 0o700)(files[p.lane]); err != nil {
			t.Fatal(err)
		}
	}
	b.order(b.lanes...)
	b.delivers(engine, time.Minute, b.lanes...)
	if code := engine.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	b.oracle()
	if strings.Contains(engine.log.String(), canaryID) {
		t.Error("the log quotes a program")
	}
}
