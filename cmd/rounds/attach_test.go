// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk"
)

var attachFlag = regexp.MustCompile(`--attach (\w+)=(\S+)`)

// debugged starts an adapter's program by hand, to wait at an address, and gives the address and how to end it.
func debugged(t *testing.T, env []string, address string, command ...string) (at string, end func()) {
	t.Helper()
	stderr := &output{}
	c := exec.Command(command[0], command[1:]...)
	c.Env = append(append(os.Environ(), env...), sdk.DebugVariable+"="+address)
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	t.Cleanup(end)
	eventually(t, 20*time.Second, "waiting", func() bool { return attachFlag.MatchString(stderr.String()) })
	return attachFlag.FindStringSubmatch(stderr.String())[2], end
}

func TestAnAdapterIsDebuggedInARun(t *testing.T) {
	t.Parallel()
	to := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, env, keep := newLedger(t, to.receiverURL)
	ledger := strings.TrimPrefix(env[0], "LEDGER=")
	env[0] = "LEDGER=" + dir + "/never-started"
	cache := "XDG_CACHE_HOME=" + t.TempDir()
	env = append(env, cache)
	keep(page{First: 1, Changes: orders("1")})
	at, end := debugged(t, []string{cache}, "127.0.0.1:0", ledger)
	attach := []string{"--attach", "ledger=" + at}

	const warning = "Warning: Adapter attached to be debugged"
	for _, args := range [][]string{{"validate", dir}, {"plan", dir}, {"check", dir}} {
		code, stdout, stderr := rounds(t, env, append(args, attach...)...)
		if code != 0 || strings.Count(stderr, warning) != 1 {
			t.Errorf("%s: exit code %d\n%s%s", args[0], code, stdout, stderr)
		}
	}
	if code, stdout, stderr := rounds(t, env, "validate", dir); code != 1 || !strings.Contains(stderr, "there is no file") {
		t.Errorf("without the flag: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := rounds(t, env, append([]string{"validate", dir, "--attach", "ledgre=" + at}, attach...)...); code != 1 ||
		!strings.Contains(stderr, `No source of this configuration uses the adapter "ledgre", which --attach names. Used are: ledger.`) {
		t.Errorf("another name: exit code %d\n%s", code, stderr)
	}
	for _, address := range []string{"192.0.2.1:4711", "localhost:4711", "127.0.0.1:0"} {
		if code, _, stderr := rounds(t, env, "run", dir, "--attach", "ledger="+address); code != 2 || !strings.Contains(stderr, "--attach") {
			t.Errorf("%s: exit code %d\n%s", address, code, stderr)
		}
	}

	probes := to.Accepted()
	p := startRun(t, dir, env, attach...)
	p.eventually(20*time.Second, "delivered", func() bool { return to.Accepted() == probes+1 })
	for _, want := range []string{warning, "THIS ADAPTER IS ATTACHED TO BE DEBUGGED"} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the run does not say %q", want)
		}
	}
	if code, stdout, stderr := rounds(t, nil, "status", "--state", dir+"/state"); code != 3 ||
		!strings.Contains(stdout, "WARNING: the adapter ledger is attached to be debugged, at "+at) {
		t.Errorf("status: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, nil, "adapter", "list", "--state", dir+"/state"); code != 0 ||
		!strings.Contains(stdout, "ATTACHED TO BE DEBUGGED, at "+at) {
		t.Errorf("adapter list: exit code %d\n%s%s", code, stdout, stderr)
	}

	end()
	keep(page{First: 1, Changes: orders("1", "2")})
	p.logged("the attached adapter has gone; it is waited for")
	debugged(t, []string{cache}, at, ledger)
	p.eventually(20*time.Second, "delivered by the one that came after it", func() bool { return to.Accepted() == probes+2 })
	p.stop()
}

func TestABundledAdapterIsDebuggedToo(t *testing.T) {
	t.Parallel()
	cache := "XDG_CACHE_HOME=" + t.TempDir()
	at, _ := debugged(t, []string{cache}, "127.0.0.1:0", binary, "adapter", "serve", "rest")
	if code, stdout, stderr := rounds(t, []string{cache}, "adapter", "describe", "rest", "--attach", "rest="+at); code != 0 ||
		!strings.Contains(stdout, "base_url") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
