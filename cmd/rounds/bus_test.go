// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// message is what one of the example's destinations got.
type message struct {
	id, key string
	body    string
}

// natsServer is a process of testdata/natsserver.
type natsServer struct {
	cmd *exec.Cmd
	url string
}

func startNATS(t *testing.T, program, dir string, port int) *natsServer {
	t.Helper()
	s := &natsServer{cmd: exec.Command(program, dir, strconv.Itoa(port), "rounds", canaryToken)}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if _, err := fmt.Fscanln(out, &s.url); err != nil {
		t.Fatalf("the server does not start: %v", err)
	}
	return s
}

func (s *natsServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func natsMessages(t *testing.T, stream jetstream.Stream) (all []message) {
	t.Helper()
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "ehr.appointments.changed" {
			t.Errorf("a message of %s", m.Subject)
		}
		all = append(all, message{id: m.Header.Get("Nats-Msg-Id"), body: string(m.Data)})
	}
	return all
}

// runMessageBus runs the example against servers of both kinds, which are stopped while changes come and started again.
func runMessageBus(t *testing.T, dir string) {
	store, data := t.TempDir(), t.TempDir()
	program := filepath.Join(t.TempDir(), "natsserver")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/natsserver").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bus := startNATS(t, program, store, -1)
	port := portOf(t, strings.TrimPrefix(bus.url, "nats://"))
	stream := func() jetstream.Stream {
		t.Helper()
		conn, err := nats.Connect(bus.url, nats.UserInfo("rounds", canaryToken))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		s, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "EHR", Subjects: []string{"ehr.>"}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stream()
	kafkaOptions := []kfake.Opt{kfake.NumBrokers(1), kfake.DataDir(data), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-512", "rounds", canaryToken)}
	kafka, err := kfake.NewCluster(append(kafkaOptions, kfake.SeedTopics(4, "ehr.appointments"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { kafka.Close() }()
	broker := kafka.ListenAddrs()[0]

	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	secrets := write(t, map[string]string{"nats_password": canaryToken, "kafka_password": canaryToken})
	env := []string{"EHR_URL=" + c.ehrURL, "NATS_URL=" + bus.url, "KAFKA_BROKER=" + broker,
		"CREDENTIALS_DIRECTORY=" + secrets}
	if code, stdout, stderr := rounds(t, env, "validate", dir); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	p := start(t, env, "run", dir, "--state", filepath.Join(t.TempDir(), "state"))
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	want := map[string]bool{}
	move := func(ids []string) {
		t.Helper()
		for _, id := range ids {
			if err := c.Move(id, time.Hour); err != nil {
				t.Fatal(err)
			}
			want[id] = true
		}
	}
	ids := c.IDs()
	move(ids[:3])
	p.eventually(20*time.Second, "stored by NATS", func() bool { return len(natsMessages(t, stream())) == len(want) })

	bus.kill()
	kafka.Close()
	move(ids[3:6])
	p.eventually(20*time.Second, "missed", func() bool { return strings.Contains(p.log.String(), "destination=nats.events") })
	bus = startNATS(t, program, store, port)
	if kafka, err = kfake.NewCluster(append(kafkaOptions, kfake.Ports(portOf(t, broker)))...); err != nil {
		t.Fatal(err)
	}

	var fromNATS, fromKafka []message
	p.eventually(60*time.Second, "stored by NATS", func() bool {
		fromNATS = natsMessages(t, stream())
		return len(fromNATS) >= len(want)
	})
	reader, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("ehr.appointments"), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.SASL(scram.Auth{User: "rounds", Pass: canaryToken}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for len(fromKafka) < len(want) {
		records := reader.PollFetches(t.Context())
		if t.Context().Err() != nil {
			t.Fatal("too few records")
		}
		for _, r := range records.Records() {
			fromKafka = append(fromKafka, message{id: string(r.Headers[0].Value), key: string(r.Key), body: string(r.Value)})
		}
	}
	p.stop()
	told := func(kind string, all []message) {
		t.Helper()
		seen := map[string]bool{}
		for _, m := range all {
			var n struct{ Appointment, Patient string }
			if err := json.Unmarshal([]byte(m.body), &n); err != nil || !want[n.Appointment] || seen[m.id] || m.id == "" {
				t.Errorf("%s has %s: %v", kind, m.body, err)
			}
			if m.key != n.Patient && kind == "kafka" {
				t.Errorf("%s is the key of %s", m.key, m.body)
			}
			seen[m.id] = true
		}
		if len(seen) != len(want) {
			t.Errorf("%s has %d messages, want %d", kind, len(seen), len(want))
		}
	}
	told("nats", fromNATS)
	told("kafka", fromKafka)
	noCanary(t, "the log", p.log.String())
	for _, hidden := range []string{"ehr.appointments", "127.0.0.1"} {
		if strings.Contains(p.log.String(), hidden) {
			t.Errorf("the log holds %s", hidden)
		}
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
