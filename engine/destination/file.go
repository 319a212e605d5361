// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

type fileConfig struct {
	_    struct{} `doc:"Appends each notification to a file, as one line of JSON, on disk before it counts as delivered."`
	Path string   `hcl:"path" doc:"The file; made with mode 0600 if it does not exist. A relative path starts at the directory in which rounds was started. It may be moved away at any time (log rotation)."`
}

func (c *fileConfig) check() error {
	if c.Path == "" || os.IsPathSeparator(c.Path[len(c.Path)-1]) {
		return blame("path", "must be the path of a file")
	}
	return nil
}

func (c *fileConfig) open() Destination {
	f := &file{path: c.Path}
	f.lines.write, f.lines.finish = f.write, f.drop
	return f
}

// file appends lines such as
//
//	{"id":"…","pipeline":"appointments","deliver":"scheduling","body":{…}}
//
// id is the same in every attempt: a crash between the write and its acknowledgement repeats a line.
type file struct {
	path  string
	lines lines
	f     *os.File // nil: to be opened; touched by write and drop only
	info  os.FileInfo
	size  int64 // where it ends if only we have written
}

const linePrefix = `{"id":`

func notRegular() error {
	return &record.SendError{Code: "file", Text: "cannot open the file: it is not a regular file"}
}

func (f *file) Send(ctx context.Context, n delivery.Notification) error {
	body, err := oneLine(n.Body)
	if err != nil {
		return err
	}
	line := make([]byte, 0, len(body)+len(n.ID)+len(n.Pipeline)+len(n.Deliver)+64)
	line = append(line, linePrefix...)
	for _, s := range []struct{ value, next string }{
		{n.ID, `,"pipeline":`}, {n.Pipeline, `,"deliver":`}, {n.Deliver, `,"body":`},
	} {
		quoted, err := json.Marshal(s.value)
		if err != nil {
			return err
		}
		line = append(append(line, quoted...), s.next...)
	}
	line = append(append(line, body...), "}\n"...)
	return f.lines.add(ctx, line)
}

func (f *file) Close() error { return f.lines.close() }

// Probe opens the file, or makes one beside where it will be and removes that again.
func (f *file) Probe(context.Context) error {
	now, err := os.Stat(f.path)
	if err == nil && !now.Mode().IsRegular() {
		return notRegular()
	}
	if err == nil {
		g, err := os.OpenFile(f.path, os.O_WRONLY, 0)
		if err == nil {
			err = g.Close()
		}
		if err != nil {
			return ioError("file", "cannot open the file", err)
		}
		return nil
	}
	g, err := os.CreateTemp(filepath.Dir(f.path), ".rounds-check-*")
	if err == nil {
		err = errors.Join(g.Close(), os.Remove(g.Name()))
	}
	if err != nil {
		return ioError("file", "cannot make the file", err)
	}
	return nil
}

// write puts whole lines on disk. After an error it is not known what is there, so the file is opened anew and its end
// looked at.
func (f *file) write(buf []byte) error {
	if err := f.ready(); err != nil {
		return err
	}
	n, err := f.f.Write(buf)
	f.size += int64(n)
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		_ = f.drop() // the first error tells more
		return ioError("file", "cannot write the file", err)
	}
	return nil
}

func (f *file) drop() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

// ready opens the file if it is not open, or if another stands at its path by now, and sees to it that a line begins where it ends.
func (f *file) ready() error {
	now, err := os.Stat(f.path)
	if f.f != nil {
		if err == nil && os.SameFile(now, f.info) {
			return f.behind(now.Size())
		}
		if err := f.drop(); err != nil {
			return ioError("file", "cannot close the file that was moved away", err)
		}
	}
	if err == nil && !now.Mode().IsRegular() { // a pipe would block the opening
		return notRegular()
	}
	g, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return ioError("file", "cannot open the file", err)
	}
	if f.info, err = g.Stat(); err == nil {
		err = mendEnd(g, f.info.Size())
	}
	if err == nil {
		err = syncDir(filepath.Dir(f.path))
	}
	if err != nil {
		_ = g.Close() // the first error tells more
		return ioError("file", "cannot open the file", err)
	}
	f.f, f.size = g, -1 // it is looked at once more
	return nil
}

// behind ends the last line of what another has written meanwhile, as another destination on a full disk, or a hand. It may go on with it,
// so nothing is taken away.
func (f *file) behind(size int64) error {
	var last [1]byte
	var err error
	if size != f.size && size > 0 {
		if _, err = f.f.ReadAt(last[:], size-1); err == nil && last[0] != '\n' {
			_, err = f.f.Write([]byte("\n"))
			size++
		}
	}
	f.size = size
	if err != nil {
		_ = f.drop() // the first error tells more
		return ioError("file", "cannot write the file", err)
	}
	return nil
}

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxEnd is how much of a last line is looked at to tell whether it is whole.
const maxEnd = 16 << 20

// mendEnd makes a file that does not end with a line break end with one, after a crash in the middle of a write or at the
// hands of an editor.
func mendEnd(f *os.File, size int64) error {
	end, err := lastLine(f, size)
	if err != nil || end == size {
		return err
	}
	torn := false
	if size-end <= maxEnd {
		last := make([]byte, size-end)
		if _, err := f.ReadAt(last, end); err != nil {
			return err
		}
		torn = isTorn(last)
	}
	if torn {
		err = f.Truncate(end)
	} else {
		_, err = f.Write([]byte("\n"))
	}
	return errors.Join(err, f.Sync())
}

// isTorn reports whether last, the end of a file after its last line break, is the beginning of a line of ours. Such a line
// was never accepted, as a line is accepted with its line break, and its notification comes again. What is whole, or
// somebody else's, stays.
func isTorn(last []byte) bool {
	if json.Valid(last) {
		return false
	}
	// Where a file grew and its content did not reach the disk, it reads as zeros.
	last = bytes.TrimRight(last, "\x00")
	n := min(len(last), len(linePrefix))
	return string(last[:n]) == linePrefix[:n]
}

// lastLine is the offset behind the last line break of a file.
func lastLine(f io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		part := buf[:min(end, int64(len(buf)))]
		if _, err := f.ReadAt(part, end-int64(len(part))); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return end - int64(len(part)) + int64(i) + 1, nil
		}
		end -= int64(len(part))
	}
	return 0, nil
}
