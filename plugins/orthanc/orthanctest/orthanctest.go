// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package orthanctest runs the real Orthanc, as Debian has it, for tests.
package orthanctest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The credentials that a server has, unless its settings say otherwise.
const (
	User     = "rounds"
	Password = "example"
)

// Server is an Orthanc of a test's own, on a port of its own and with a database of its own.
type Server struct {
	URL string

	t       testing.TB
	dir     string
	process *exec.Cmd
	log     bytes.Buffer // is read when the process has ended
}

// New starts an Orthanc, which the test's end stops. settings are of its configuration.
func New(t testing.TB, settings map[string]any) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	s := &Server{t: t, dir: t.TempDir(), URL: fmt.Sprintf("http://127.0.0.1:%d", port)}
	config := map[string]any{
		"Plugins": []string{}, "DicomServerEnabled": false, "AuthenticationEnabled": true, "RegisteredUsers": map[string]string{User: Password},
		"OverwriteInstances": true, "StableAge": 1, "TcpNoDelay": true,
	}
	maps.Copy(config, settings)
	maps.Copy(config, map[string]any{"StorageDirectory": "state", "IndexDirectory": "state", "HttpPort": port})
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "orthanc.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.process != nil {
			_ = s.process.Process.Kill()
			_ = s.process.Wait()
		}
		if t.Failed() {
			t.Logf("what Orthanc wrote:\n%s", s.log.Bytes()[max(0, s.log.Len()-1500):])
		}
	})
	s.Start()
	return s
}

// Start starts it and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	program, err := exec.LookPath("Orthanc")
	if err != nil {
		program = "/usr/sbin/Orthanc" // not in everybody's path
	}
	s.process = exec.Command(program, filepath.Join(s.dir, "orthanc.json"))
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("Orthanc can't be started, see .ci/counterparts: %v", err)
	}
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, status, err := s.call(http.MethodGet, "/system", nil); err == nil && status == http.StatusOK {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatal("Orthanc does not answer")
		}
	}
}

// Stop ends it as its service does.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	_ = s.process.Wait()
	s.process = nil
}

// Kill ends it without a warning.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.process.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = s.process.Wait()
	s.process = nil
}

// Renew has it begin with an empty database.
func (s *Server) Renew() {
	s.t.Helper()
	s.Stop()
	if err := os.RemoveAll(filepath.Join(s.dir, "state")); err != nil {
		s.t.Fatal(err)
	}
	s.Start()
}

// Stored are the identifiers that Orthanc gives to what an instance belongs to.
type Stored struct{ ID, ParentPatient, ParentStudy, ParentSeries, Status string }

// Store has it make and store an instance.
func (s *Server) Store(patient, study string, instance int, description string) Stored {
	s.t.Helper()
	uid := fmt.Sprintf("1.2.826.0.1.3680043.10.1.%d.%d", crc32.ChecksumIEEE([]byte(patient)), crc32.ChecksumIEEE([]byte(study)))
	var stored Stored
	s.Post("/tools/create-dicom", map[string]any{"Force": true, "Tags": map[string]string{
		"PatientID": patient, "PatientName": "Doe^" + patient, "StudyInstanceUID": uid, "SeriesInstanceUID": uid + ".1",
		"SOPInstanceUID": fmt.Sprintf("%s.1.%d", uid, instance), "Modality": "MR", "StudyDescription": description, "StudyDate": "20260512",
	}}, &stored)
	return stored
}

// Post sends JSON.
func (s *Server) Post(path string, body, answer any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	got, status, err := s.call(http.MethodPost, path, text)
	if err != nil || status != http.StatusOK || json.Unmarshal(got, answer) != nil {
		s.t.Fatalf("POST %s: %d %s %v", path, status, got, err)
	}
}

// Get gives an answer.
func (s *Server) Get(path string) []byte {
	s.t.Helper()
	body, status, err := s.call(http.MethodGet, path, nil)
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %v", path, status, err)
	}
	return body
}

// Put sets metadata or an attachment.
func (s *Server) Put(path, content string) {
	s.t.Helper()
	if body, status, err := s.call(http.MethodPut, path, []byte(content)); err != nil || status != http.StatusOK {
		s.t.Fatalf("PUT %s: %d %s %v", path, status, body, err)
	}
}

// Delete deletes something, with all that belongs to it.
func (s *Server) Delete(path string) {
	s.t.Helper()
	if body, status, err := s.call(http.MethodDelete, path, nil); err != nil || status != http.StatusOK {
		s.t.Fatalf("DELETE %s: %d %s %v", path, status, body, err)
	}
}

func (s *Server) call(method, path string, body []byte) ([]byte, int, error) {
	r, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	r.SetBasicAuth(User, Password)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return got, resp.StatusCode, err
}
