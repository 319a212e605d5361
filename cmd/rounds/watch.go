// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// watchPause is the least time between two looks.
const watchPause = 200 * time.Millisecond

// watched are the kinds of files that a configuration is made of.
var watched = []string{".hcl", ".js", ".mjs", ".ts", ".mts", ".json", ".csv"}

// watch works at once, and again whenever a file has changed, until ctx is done: one of files, or one of the kinds that a
// configuration is made of in its directory or below. All of these count, as a script that does not compile does not tell what it imports.
func watch(ctx context.Context, dir string, files []string, work func()) error {
	var last map[string]stamp
	for {
		began := time.Now()
		now := stamps(dir, files)
		pause := time.NewTimer(max(watchPause, 10*time.Since(began))) // a large directory must not keep the machine busy
		if last == nil || !maps.Equal(last, now) {
			last = now // taken before the work: what changes meanwhile is seen the next time
			work()
		}
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// stamp is by what a change of a file is known.
type stamp struct {
	modified int64 // nanoseconds since 1970
	size     int64
}

// stamps looks at the files. What can't be looked at is not there.
func stamps(dir string, files []string) map[string]stamp {
	found := map[string]stamp{}
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			found[name] = stamp{info.ModTime().UnixNano(), info.Size()}
		}
	}
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { // it ends with what the function returns
		name := filepath.Base(path)
		switch {
		case err != nil:
			return nil // not there any more, or not for this user
		case entry.IsDir():
			if path != dir && (strings.HasPrefix(name, ".") || name == "node_modules") {
				return fs.SkipDir
			}
		case slices.Contains(watched, filepath.Ext(name)):
			if info, err := os.Stat(path); err == nil {
				found[path] = stamp{info.ModTime().UnixNano(), info.Size()}
			}
		}
		return nil
	})
	return found
}

// configFilesOf is the directory whose files a configuration is made of.
func configFilesOf(path string) string {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return filepath.Dir(path)
	}
	return path
}
