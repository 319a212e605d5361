// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// phases are what processes are killed in. Each kills, and says whether it hit what it is about.
var phases = map[string]func(*crash) bool{
	"load":    (*crash).underLoad,
	"start":   (*crash).inItsStart,
	"upgrade": (*crash).inAnUpgrade,
	"adapter": (*crash).anAdapter,
	"both":    (*crash).adaptersAndEngine,
	"reload":  func(c *crash) bool { return c.inAReload(c.config.edit) },
	"rename":  func(c *crash) bool { return c.inAReload(c.config.rename) },
	"compact": (*crash).inACompaction,
	"backup":  (*crash).inABackup,
	"restore": (*crash).inARestore,
	"stop":    (*crash).inItsStop,
}

func phaseNames() []string { return slices.Sorted(maps.Keys(phases)) }

// upTo waits for a random part of a time.
func (c *crash) upTo(most time.Duration) {
	time.Sleep(time.Duration(c.random.Int64N(max(int64(most), 0) + 1)))
}

// soon waits until something holds, and says whether it did in time.
func soon(limit time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// underLoad: while something is asked of an EHR, or sent.
func (c *crash) underLoad() bool {
	c.upAndRunning()
	c.upTo(600 * time.Millisecond)
	sends := c.random.IntN(2) == 0
	hit := soon(2*time.Second, func() bool { return sends && c.inbox.under.Load() > 0 || !sends && c.hospital.under.Load() > 0 })
	c.kill()
	return hit
}

// inItsStart: before it runs.
func (c *crash) inItsStart() bool {
	c.upTo(c.starting - time.Since(c.began))
	c.kill()
	return !c.running()
}

// inAnUpgrade: when it has opened a state of the first format, before it raises the format or after, and does not run yet.
func (c *crash) inAnUpgrade() bool {
	opened, most := "tables opened in", 10*time.Millisecond // as Badger says
	if c.random.IntN(2) == 0 {
		opened, most = "is of an older format and is taken over", 0
	}
	hit := soon(20*time.Second, func() bool { return c.p.log.holds(opened) })
	c.upTo(most)
	c.kill()
	if c.running() || !hit {
		return false
	}
	if c.p.log.holds("is taken over") {
		c.raised++
	}
	return true
}

// anAdapter: one that runs, whose sources have to be opened again by another process.
func (c *crash) anAdapter() bool {
	c.upAndRunning()
	c.upTo(300 * time.Millisecond)
	before := children(c.t, c.p.cmd.Process.Pid)
	if len(before) == 0 || syscall.Kill(before[c.random.IntN(len(before))], syscall.SIGKILL) != nil {
		return false
	}
	return soon(10*time.Second, func() bool {
		time.Sleep(20 * time.Millisecond) // the look is dear
		now := children(c.t, c.p.cmd.Process.Pid)
		return len(now) == len(before) && !slices.Equal(now, before)
	})
}

// adaptersAndEngine: all, in any order.
func (c *crash) adaptersAndEngine() bool {
	c.upAndRunning()
	c.upTo(500 * time.Millisecond)
	engine := c.p.cmd.Process.Pid
	all := append(children(c.t, engine), engine)
	c.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	hit := len(all) > 1
	for _, pid := range all {
		err := syscall.Kill(pid, syscall.SIGKILL)
		hit = hit && (err == nil || pid != engine) // adapters end with their engine
		c.upTo(2 * time.Millisecond)
	}
	c.kill()
	return hit
}

// inAReload: while the engine reads its configuration again and makes what runs that of it.
func (c *crash) inAReload(edit func(t *testing.T)) bool {
	c.upAndRunning()
	edit(c.t)
	client, err := operate.Dial(c.t.Context(), c.state())
	if err != nil {
		c.t.Error(err)
		return false
	}
	done := make(chan error, 1)
	go func() {
		_, err := client.Reload(context.Background()) // the kill ends it
		done <- err
	}()
	soon(5*time.Second, func() bool { return c.p.log.holds("is read again") })
	c.upTo([]time.Duration{0, 10 * time.Millisecond, 50 * time.Millisecond}[c.random.IntN(3)])
	c.kill()
	if err := <-done; err == nil || !errors.Is(err, operate.ErrNotRunning) {
		return false // it was done before, or it could not be made
	}
	return c.p.log.holds("is read again") && !c.p.log.holds("was read again")
}

// inACompaction: when some of its tables stand. A start makes one of the log that the kill before left; a compaction makes many at once.
func (c *crash) inACompaction() bool {
	began := func() bool {
		return len(slices.DeleteFunc(c.stateTables(), func(name string) bool { return slices.Contains(c.tables, name) })) > 1
	}
	if !soon(30*time.Second, func() bool { return c.running() || began() }) {
		c.t.Error("the engine does not start")
	}
	unfinished := c.prophet.unfinished.Load()
	soon(1500*time.Millisecond, began)
	c.kill()
	c.wait()
	return c.prophet.unfinished.Load() > unfinished
}

func (c *crash) stateTables() []string {
	tables, err := filepath.Glob(filepath.Join(c.state(), "*.sst"))
	if err != nil {
		c.t.Fatal(err)
	}
	return tables
}

// wait waits until all states were looked at.
func (c *crash) wait() {
	done := make(chan struct{})
	c.looking <- func() { close(done) }
	<-done
}

// inABackup: while a backup is written, which is nowhere under its name then.
func (c *crash) inABackup() bool {
	c.upAndRunning()
	dir := c.t.TempDir()
	file := filepath.Join(dir, "backup")
	backup := exec.Command(binary, "backup", file, "--state", c.state())
	if err := backup.Start(); err != nil {
		c.t.Fatal(err)
	}
	part := func() string {
		all, _ := filepath.Glob(file + ".part*")
		if len(all) == 1 {
			if info, err := os.Stat(all[0]); err == nil && info.Size() > 0 {
				return all[0]
			}
		}
		return ""
	}
	begun := soon(10*time.Second, func() bool { return part() != "" || exists(file) })
	c.upTo(20 * time.Millisecond)
	if c.random.IntN(2) == 0 {
		_ = backup.Process.Kill() // it may have ended
		_ = backup.Wait()
		return begun && !exists(file)
	}
	c.kill()
	err := backup.Wait()
	if err == nil {
		return false
	}
	if exists(file) || part() != "" {
		c.t.Errorf("a backup that failed left something")
	}
	return begun
}

// inARestore: while a backup becomes a state, which is none until it is whole. The restored state is what the next engine goes on with.
func (c *crash) inARestore() bool {
	c.upAndRunning()
	c.upTo(300 * time.Millisecond)
	c.kill()
	file := filepath.Join(c.t.TempDir(), "backup")
	command(c.t, c.config.dir, 0, "backup", file)
	if err := os.RemoveAll(c.state()); err != nil {
		c.t.Fatal(err)
	}
	restore := exec.Command(binary, "restore", file, "--state", c.state())
	if err := restore.Start(); err != nil {
		c.t.Fatal(err)
	}
	begun := soon(10*time.Second, func() bool { return exists(filepath.Join(c.state(), "RESTORING")) })
	c.upTo(100 * time.Millisecond)
	_ = restore.Process.Kill() // it may have ended
	hit := restore.Wait() != nil && begun
	if hit && !exists(filepath.Join(c.state(), "FORMAT")) {
		command(c.t, c.config.dir, 1, "status")
		command(c.t, c.config.dir, 0, "restore", file)
	}
	return hit
}

// inItsStop: after it was asked to end.
func (c *crash) inItsStop() bool {
	c.upAndRunning()
	c.upTo(300 * time.Millisecond)
	c.p.signal(syscall.SIGTERM)
	stopping := soon(5*time.Second, func() bool { return c.p.log.holds("stopping: no more polls") })
	c.upTo(20 * time.Millisecond)
	c.kill()
	status, _ := c.p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return stopping && status.Signaled()
}
