// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/engine/child"
	"github.com/rounds-engine/rounds/sdk"
)

// passed are the variables of the engine's environment that an adapter gets. Everything else stays: the engine's environment
// may hold the secrets of other sources. A proxy variable may hold a password; it is one for the way out, which adapters need.
var passed = []string{
	"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// windows lists what programs on Windows can't do without.
var windows = []string{"SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "PATHEXT"}

func environment(from []string) []string {
	var env []string
	for _, variable := range from {
		name, _, _ := strings.Cut(variable, "=")
		if slices.Contains(passed, name) || runtime.GOOS == "windows" && slices.Contains(windows, strings.ToUpper(name)) {
			env = append(env, variable)
		}
	}
	return env
}

// command gives the command line of an adapter, whose file it checks.
func (h *Host) command(a Adapter) (path string, arguments []string, err error) {
	if a.Path == "" {
		if len(h.o.Bundled) == 0 {
			return "", nil, sdk.Retryable("adapter %s is not bundled with this engine: name its file by `path`", a.Name)
		}
		return h.o.Bundled[0], append(slices.Clone(h.o.Bundled[1:]), a.Name), nil
	}
	path, err = filepath.Abs(a.Path)
	if err != nil {
		return "", nil, sdk.Retryable("adapter %s: the working directory is gone", a.Name)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, sdk.Retryable("adapter %s: there is no file %s", a.Name, path)
	case err != nil:
		return "", nil, sdk.Retryable("adapter %s: %s can't be reached: %s", a.Name, path, startReason(err))
	case !info.Mode().IsRegular():
		return "", nil, sdk.Retryable("adapter %s: %s is not a file", a.Name, path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o111 == 0:
		return "", nil, sdk.Retryable("adapter %s: %s is not executable (chmod +x)", a.Name, path)
	}
	if a.SHA256 != "" {
		err = verify(a, path)
	}
	return path, nil, err
}

// memory gives the bytes that a process of an adapter may take; 0: any.
func (h *Host) memory(a Adapter) int64 {
	if a.Memory > 0 {
		return a.Memory << 20
	}
	return child.AllMemory() / 2
}

// verify compares a file with the hash that the configuration gives.
func verify(a Adapter, path string) error {
	want := strings.ToLower(strings.TrimPrefix(a.SHA256, "sha256:"))
	if sum, err := hex.DecodeString(want); err != nil || len(sum) != sha256.Size {
		return sdk.Retryable("adapter %s: its sha256 must be %d hexadecimal digits", a.Name, 2*sha256.Size)
	}
	f, err := os.Open(path)
	if err != nil {
		return sdk.Retryable("adapter %s: %s can't be read for its sha256: %s", a.Name, path, startReason(err))
	}
	defer func() { _ = f.Close() }() // it was only read
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return sdk.Retryable("adapter %s: %s can't be read for its sha256: %s", a.Name, path, startReason(err))
	}
	if found := hex.EncodeToString(hash.Sum(nil)); found != want {
		return sdk.Retryable("adapter %s: %s is not the file that the configuration means: its sha256 is %s, expected is %s; "+
			"put the right file back, or, if it was replaced on purpose, the new sha256 into the configuration", a.Name, path, found, want)
	}
	return nil
}

// levelOf is the lowest level that is logged.
func levelOf(l *slog.Logger) string {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if l.Enabled(context.Background(), level) {
			return level.String()
		}
	}
	return slog.LevelError.String()
}
