// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/record"
)

// startNATS runs a server in this process until the test ends.
func startNATS(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	o.Host, o.NoLog, o.NoSigs, o.JetStream = "127.0.0.1", true, true, true
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func administer(t testing.TB, s *server.Server, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func newStream(t testing.TB, js jetstream.JetStream, c jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stored(t testing.TB, s jetstream.Stream) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	info, err := s.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(context.Background(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func TestNATSStoresEachNotificationOnce(t *testing.T) {
	s := startNATS(t, server.Options{})
	stream := newStream(t, administer(t, s), jetstream.StreamConfig{Name: "EHR", Subjects: []string{"ehr.>"}})
	d := open(t, "nats", map[string]any{"servers": []string{s.ClientURL()}, "subject": "ehr.{pipeline}.{deliver}", "stream": "EHR"})
	for range 2 { // an acknowledgement that was lost
		for i := range 3 {
			n := delivery.Notification{ID: fmt.Sprint("n", i), Pipeline: "visits", Deliver: "adt", Key: "MRN-1",
				Body: fmt.Appendf(nil, `{"n":%d}`, i)}
			if err := d.Send(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := stored(t, stream)
	if len(got) != 3 {
		t.Fatalf("%d messages are stored", len(got))
	}
	for i, m := range got {
		want := map[string][]string{"Nats-Msg-Id": {fmt.Sprint("n", i)}, "Rounds-Pipeline": {"visits"}, "Rounds-Deliver": {"adt"},
			"Content-Type": {"application/json"}, "Nats-Expected-Stream": {"EHR"}}
		if m.Subject != "ehr.visits.adt" || string(m.Data) != fmt.Sprintf(`{"n":%d}`, i) || !maps.EqualFunc(m.Header, want, slices.Equal) {
			t.Errorf("%s %s %v", m.Subject, m.Data, m.Header)
		}
	}
}

func TestNATSRefusalsHaveTheirVerdicts(t *testing.T) {
	permitted := &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"ehr.>"}}}
	s := startNATS(t, server.Options{MaxPayload: 4096, Users: []*server.User{
		{Username: "admin", Password: "x"}, {Username: "rounds", Password: "hush", Permissions: permitted},
		{Username: "full", Password: "hush"},
	}})
	js := administer(t, s, nats.UserInfo("admin", "x"))
	newStream(t, js, jetstream.StreamConfig{Name: "EHR", Subjects: []string{"ehr.small"}, MaxMsgSize: 2048})
	newStream(t, js, jetstream.StreamConfig{Name: "FULL", Subjects: []string{"ehr.full"}, MaxMsgs: 1, Discard: jetstream.DiscardNew})
	sealed := jetstream.StreamConfig{Name: "SEALED", Subjects: []string{"ehr.sealed"}}
	newStream(t, js, sealed)
	sealed.Sealed = true
	if _, err := js.UpdateStream(t.Context(), sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "ehr.full", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Conn().Subscribe("ehr.other", func(m *nats.Msg) { m.Respond([]byte("MRN-12345")) }); err != nil {
		t.Fatal(err)
	}
	js.Conn().Flush()
	for name, c := range map[string]struct {
		subject, user, password, stream string
		size                            int
		verdict                         record.Verdict
		text                            string
	}{
		"larger than the stream takes": {"ehr.small", "rounds", "hush", "", 3000, record.Reject, "max_msg_size"},
		"larger than the server takes": {"ehr.small", "rounds", "hush", "", 5000, record.Reject, "max_payload"},
		"another stream":               {"ehr.small", "rounds", "hush", "OTHER", 10, record.Pause, "another stream"},
		"no stream":                    {"ehr.none", "full", "hush", "", 10, record.Pause, "no stream takes the subject"},
		"no stream, not to be asked":   {"ehr.none", "rounds", "hush", "", 10, record.Retry, "may not ask"},
		"not permitted":                {"his.none", "rounds", "hush", "", 10, record.Pause, "does not permit"},
		"wrong password":               {"ehr.small", "rounds", "hush2", "", 10, record.Pause, "credentials"},
		"full":                         {"ehr.full", "rounds", "hush", "", 10, record.Retry, "JetStream error"},
		"sealed":                       {"ehr.sealed", "rounds", "hush", "", 10, record.Pause, "sealed"},
		"not a stream":                 {"ehr.other", "rounds", "hush", "", 10, record.Retry, "not a stream"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := map[string]any{"servers": []string{s.ClientURL()}, "subject": c.subject,
				"auth": map[string]any{"kind": "basic", "username": c.user, "password": c.password}}
			if c.stream != "" {
				config["stream"] = c.stream
			}
			d := open(t, "nats", config)
			for range 2 { // the second time, what the first left behind does no harm
				e := sendError(t, d.Send(t.Context(), note(`"MRN-12345`+strings.Repeat("x", c.size)+`"`)))
				if e.Verdict != c.verdict || !strings.Contains(e.Text, c.text) {
					t.Errorf("verdict %d, %s: %s", e.Verdict, e.Code, e.Text)
				}
				for _, hidden := range []string{"MRN-12345", "hush", "127.0.0.1", c.subject} {
					if strings.Contains(e.Text+e.Code, hidden) {
						t.Errorf("the text shows %s: %s", hidden, e.Text)
					}
				}
			}
		})
	}
}

func TestNATSProvesWhoItIs(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	public, _ := user.PublicKey()
	token := startNATS(t, server.Options{Authorization: "hush"})
	nkey := startNATS(t, server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})
	trusting, creds := operated(t)
	for name, c := range map[string]struct {
		server *server.Server
		admin  nats.Option
		auth   map[string]any
	}{
		"token":       {token, nats.Token("hush"), map[string]any{"kind": "token", "token": "hush"}},
		"nkey":        {nkey, nats.Nkey(public, user.Sign), map[string]any{"kind": "nkey", "seed": string(seed)}},
		"credentials": {trusting, nats.UserCredentialBytes([]byte(creds)), map[string]any{"kind": "credentials", "credentials": creds}},
	} {
		t.Run(name, func(t *testing.T) {
			stream := newStream(t, administer(t, c.server, c.admin), jetstream.StreamConfig{Name: "EHR", Subjects: []string{"ehr"}})
			config := map[string]any{"servers": []string{c.server.ClientURL()}, "subject": "ehr", "auth": c.auth}
			if err := open(t, "nats", config).Send(t.Context(), note("{}")); err != nil || len(stored(t, stream)) != 1 {
				t.Errorf("not stored: %v", err)
			}
			delete(config, "auth")
			if e := sendError(t, open(t, "nats", config).Send(t.Context(), note("{}"))); e.Verdict != record.Pause || e.Code != "nats_auth" {
				t.Errorf("without: %v", e)
			}
		})
	}
}

// operated is a server whose users are told by credentials, and the content of a .creds file of one of them.
func operated(t *testing.T) (*server.Server, string) {
	t.Helper()
	key := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		k, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, _ := k.PublicKey()
		return k, public
	}
	operator, operatorID := key(nkeys.CreateOperator)
	_, systemID := key(nkeys.CreateAccount)
	account, accountID := key(nkeys.CreateAccount)
	user, userID := key(nkeys.CreateUser)
	resolver := &server.MemAccResolver{}
	sign := func(c jwt.Claims, by nkeys.KeyPair) string {
		text, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	claims := jwt.NewAccountClaims(accountID)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	for id, text := range map[string]string{accountID: sign(claims, operator), systemID: sign(jwt.NewAccountClaims(systemID), operator)} {
		if err := resolver.Store(id, text); err != nil {
			t.Fatal(err)
		}
	}
	seed, _ := user.Seed()
	creds, err := jwt.FormatUserConfig(sign(jwt.NewUserClaims(userID), account), seed)
	if err != nil {
		t.Fatal(err)
	}
	return startNATS(t, server.Options{TrustedKeys: []string{operatorID}, AccountResolver: resolver, SystemAccount: systemID}), string(creds)
}

func TestNATSOverTLSWithACertificate(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	s := startNATS(t, server.Options{TLSConfig: ours.server("nats.example"), TLSTimeout: 20})
	cert, key := ours.issue("rounds")
	plain := startNATS(t, server.Options{})
	send := func(to string, tls map[string]any) *record.SendError {
		config := map[string]any{"servers": []string{to}, "subject": "ehr"}
		if tls != nil {
			config["tls"] = tls
		}
		return sendError(t, open(t, "nats", config).Send(t.Context(), note("{}")))
	}
	// There is no stream, which is only found out where the connection stands.
	for _, to := range []string{s.ClientURL(), strings.Replace(s.ClientURL(), "nats:", "tls:", 1)} {
		if e := send(to, map[string]any{"ca": ours.pem, "cert": cert, "key": key}); e.Code != "nats_no_stream" {
			t.Errorf("%s: %v", to, e)
		}
	}
	if e := send(s.ClientURL(), map[string]any{"ca": other.pem, "cert": cert, "key": key}); e.Code != "tls" || e.Verdict != record.Retry {
		t.Errorf("another authority: %v", e)
	}
	if e := send(s.ClientURL(), nil); e.Code != "tls" {
		t.Errorf("the system's authorities: %v", e)
	}
	if e := send(plain.ClientURL(), map[string]any{"ca": ours.pem}); e.Code != "tls" || e.Verdict != record.Pause {
		t.Errorf("a server without TLS: %v", e)
	}
	if e := send(strings.Replace(plain.ClientURL(), "nats:", "tls:", 1), nil); e.Code != "tls" || e.Verdict != record.Pause {
		t.Errorf("a server without TLS, wanted by its address: %v", e)
	}
}

// TestNATSLosesNothingWhenItsServerIsKilled: what waits for an acknowledgement ends with the connection, and lanes keep their order
// over restarts.
func TestNATSLosesNothingWhenItsServerIsKilled(t *testing.T) {
	const lanes, each, kills = 8, 60, 3
	dir := t.TempDir()
	s := startNATS(t, server.Options{StoreDir: dir})
	port := s.Addr().(*net.TCPAddr).Port
	newStream(t, administer(t, s), jetstream.StreamConfig{Name: "EHR", Subjects: []string{"ehr"}})
	d := open(t, "nats", map[string]any{"servers": []string{s.ClientURL()}, "subject": "ehr"})
	var all sync.WaitGroup
	var sent atomic.Int64
	for lane := range lanes {
		all.Go(func() { insist(t, d, fmt.Sprint("lane", lane), each, &sent) })
	}
	for kill := range kills {
		for sent.Load() < int64((kill+1)*lanes*each/(kills+1)) {
			time.Sleep(time.Millisecond)
		}
		s.Shutdown()
		s.WaitForShutdown()
		s = startNATS(t, server.Options{StoreDir: dir, Port: port})
	}
	all.Wait()
	stream, err := administer(t, s).Stream(t.Context(), "EHR")
	if err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for _, m := range stored(t, stream) {
		lane, number, _ := strings.Cut(m.Header.Get("Nats-Msg-Id"), "-")
		if want := fmt.Sprint(next[lane]); number != want {
			t.Fatalf("%s has %s where %s is to come", lane, number, want)
		}
		next[lane]++
	}
	for lane := range lanes {
		if n := next[fmt.Sprint("lane", lane)]; n != each {
			t.Errorf("lane%d has %d of %d", lane, n, each)
		}
	}
}

func TestNATSDoesNotWaitForAServerThatIsGone(t *testing.T) {
	s := startNATS(t, server.Options{})
	asked := make(chan struct{}, 1)
	silent := administer(t, s).Conn()
	if _, err := silent.Subscribe("ehr", func(*nats.Msg) { asked <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	silent.Flush()
	d := open(t, "nats", map[string]any{"servers": []string{s.ClientURL()}, "subject": "ehr"})
	go func() { <-asked; s.Shutdown() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if e := sendError(t, d.Send(ctx, note("{}"))); e.Verdict != record.Retry || !strings.Contains(e.Text, "connection was lost") {
		t.Errorf("got %v", e)
	}
	if e := sendError(t, d.Send(ctx, note("{}"))); e.Verdict != record.Retry || !strings.Contains(e.Text, "no server can be reached") {
		t.Errorf("got %v", e)
	}
}

func TestNATSEndsWithItsContext(t *testing.T) {
	s := startNATS(t, server.Options{})
	asked := make(chan struct{}, 1)
	silent := administer(t, s).Conn()
	if _, err := silent.Subscribe("ehr", func(*nats.Msg) { asked <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	silent.Flush()
	d := open(t, "nats", map[string]any{"servers": []string{s.ClientURL()}, "subject": "ehr"})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	go func() { <-asked; cancel(why) }()
	if err := d.Send(ctx, note("{}")); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// insist sends the notifications of a lane one after the other, each until it is accepted, as the delivery loop does.
func insist(t *testing.T, d destination.Destination, lane string, n int, sent *atomic.Int64) {
	for i := range n {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := d.Send(ctx, delivery.Notification{ID: fmt.Sprintf("%s-%d", lane, i), Pipeline: "p", Deliver: "d", Key: lane,
				Body: fmt.Append(nil, i)})
			cancel()
			if err == nil {
				sent.Add(1)
				break
			}
			var e *record.SendError
			if errors.As(err, &e) && e.Verdict != record.Retry {
				t.Errorf("%s-%d: %v", lane, i, err)
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-t.Context().Done():
				return
			}
		}
	}
}
