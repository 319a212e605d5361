// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

func startKafka(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produced reads n records of a topic, and that there are no more.
func produced(t testing.TB, c *kfake.Cluster, topic string, n int) (all []*kgo.Record) {
	t.Helper()
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var sum int64
	for _, p := range c.PartitionInfos(topic) {
		sum += p.HighWatermark
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for int64(len(all)) < sum && ctx.Err() == nil {
		all = append(all, reader.PollFetches(ctx).Records()...)
	}
	if len(all) != n {
		t.Errorf("%s has %d records, want %d", topic, len(all), n)
	}
	return all
}

func headerOf(r *kgo.Record, key string) string {
	i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == key })
	if i < 0 {
		return ""
	}
	return string(r.Headers[i].Value)
}

func TestKafkaKeepsTheOrderOfEachKey(t *testing.T) {
	const keys, each = 12, 10
	for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			c := startKafka(t, kfake.NumBrokers(3), kfake.SeedTopics(4, "ehr"))
			d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr", "compression": compression})
			var all sync.WaitGroup
			var sent atomic.Int64
			for key := range keys {
				all.Go(func() { insist(t, d, fmt.Sprint("key", key), each, &sent) })
			}
			all.Wait()
			next, partition := map[string]int{}, map[string]int32{}
			for _, r := range produced(t, c, "ehr", keys*each) {
				key := string(r.Key)
				if next[key] == 0 {
					partition[key] = r.Partition
				}
				if string(r.Value) != fmt.Sprint(next[key]) || r.Partition != partition[key] {
					t.Fatalf("%s has %s in partition %d, where %d in partition %d is to come", key, r.Value, r.Partition, next[key], partition[key])
				}
				if headerOf(r, "rounds-id") != fmt.Sprintf("%s-%s", key, r.Value) || headerOf(r, "rounds-pipeline") != "p" ||
					headerOf(r, "rounds-deliver") != "d" || headerOf(r, "content-type") != "application/json" {
					t.Errorf("headers are %v", r.Headers)
				}
				next[key]++
			}
		})
	}
}

func TestKafkaRefusalsHaveTheirVerdicts(t *testing.T) {
	allow := kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "ehr", Pattern: kmsg.ACLResourcePatternTypePrefixed,
		Operation: kmsg.ACLOperationWrite, Allow: true}
	c := startKafka(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "x"),
		kfake.User("PLAIN", "rounds", "hush", allow), kfake.SeedTopics(1, "ehr", "ehr-small", "other"))
	if err := c.DeleteTopic("ehr-small"); err != nil {
		t.Fatal(err)
	}
	small := "2000"
	if err := c.CreateTopic("ehr-small", 1, map[string]string{"max.message.bytes": small}); err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]struct {
		topic, password string
		size            int
		verdict         record.Verdict
		text            string
	}{
		"larger than is sent":         {"ehr", "hush", 1_100_000, record.Reject, "max_message_bytes"},
		"larger than the topic takes": {"ehr-small", "hush", 3000, record.Reject, "max.message.bytes"},
		"no topic":                    {"ehr-none", "hush", 10, record.Pause, "does not exist"},
		"not permitted":               {"other", "hush", 10, record.Pause, "may not write"},
		"the credentials of nobody":   {"ehr", "", 10, record.Retry, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := map[string]any{"brokers": c.ListenAddrs(), "topic": k.topic, "compression": "none"}
			if k.password != "" {
				config["auth"] = map[string]any{"kind": "plain", "username": "rounds", "password": k.password}
			}
			d := open(t, "kafka", config)
			for range 2 {
				e := sendError(t, d.Send(t.Context(), note(`"MRN-12345`+strings.Repeat("x", k.size)+`"`)))
				if e.Verdict != k.verdict || !strings.Contains(e.Text, k.text) {
					t.Errorf("verdict %d, %s: %s", e.Verdict, e.Code, e.Text)
				}
				for _, hidden := range []string{"MRN-12345", "hush", "127.0.0.1", "ehr-"} {
					if strings.Contains(e.Text+e.Code, hidden) {
						t.Errorf("the text shows %s: %s", hidden, e.Text)
					}
				}
			}
		})
	}
}

func TestKafkaProvesWhoItIs(t *testing.T) {
	for kind, method := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		t.Run(kind, func(t *testing.T) {
			c := startKafka(t, kfake.EnableSASL(), kfake.Superuser(method, "rounds", "hush"), kfake.SeedTopics(1, "ehr"))
			d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr",
				"auth": map[string]any{"kind": kind, "username": "rounds", "password": "hush"}})
			if err := d.Send(t.Context(), note("{}")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKafkaPausesWhereItsCredentialsAreRefused: kafka answers so, where kfake hangs up.
func TestKafkaPausesWhereItsCredentialsAreRefused(t *testing.T) {
	c := startKafka(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "rounds", "hush"), kfake.SeedTopics(1, "ehr"))
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode, answer.ErrorMessage = kerr.SaslAuthenticationFailed.Code, kmsg.StringPtr("rounds has no such password: hush")
		return answer, nil, true
	})
	d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr",
		"auth": map[string]any{"kind": "plain", "username": "rounds", "password": "hush"}})
	if e := sendError(t, d.Send(t.Context(), note("{}"))); e.Verdict != record.Pause || !strings.Contains(e.Text, "credentials") ||
		strings.Contains(e.Text, "hush") {
		t.Errorf("verdict %d: %v", e.Verdict, e)
	}
}

func TestKafkaOverTLSWithACertificate(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	c := startKafka(t, kfake.TLS(ours.server("kafka.example")), kfake.SeedTopics(1, "ehr"))
	cert, key := ours.issue("rounds")
	send := func(to []string, tls map[string]any) error {
		config := map[string]any{"brokers": to, "topic": "ehr"}
		if tls != nil {
			config["tls"] = tls
		}
		return open(t, "kafka", config).Send(t.Context(), note("{}"))
	}
	if err := send(c.ListenAddrs(), map[string]any{"ca": ours.pem, "cert": cert, "key": key}); err != nil {
		t.Error(err)
	}
	if e := sendError(t, send(c.ListenAddrs(), map[string]any{"ca": other.pem, "cert": cert, "key": key})); e.Code != "tls" {
		t.Errorf("another authority: %v", e)
	}
	if e := sendError(t, send(c.ListenAddrs(), nil)); e.Verdict != record.Retry || !strings.Contains(e.Text, "TLS") {
		t.Errorf("without TLS: %v", e)
	}
}

// TestKafkaRefusesOnlyWhatIsTooLargeItself: brokers measure batches, in which those of other lanes are too.
func TestKafkaRefusesOnlyWhatIsTooLargeItself(t *testing.T) {
	c := startKafka(t)
	if err := c.CreateTopic("ehr", 1, map[string]string{"max.message.bytes": "4000"}); err != nil {
		t.Fatal(err)
	}
	d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr", "compression": "none"})
	// While the broker thinks about the first, the others gather in a batch.
	free, first := make(chan struct{}), make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.DropControl()
		close(first)
		c.SleepControl(func() { <-free })
		return nil, nil, false
	})
	var all sync.WaitGroup
	var refused atomic.Int64
	send := func(i, size int) {
		n := note(`"` + strings.Repeat("x", size) + `"`)
		n.ID, n.Key = strconv.Itoa(i), strconv.Itoa(i)
		var e *record.SendError
		if err := d.Send(t.Context(), n); errors.As(err, &e) && e.Verdict == record.Reject {
			refused.Add(1)
		} else if err != nil {
			t.Error(err)
		}
	}
	all.Go(func() { send(0, 10) })
	<-first
	for i := range 10 {
		all.Go(func() { send(i+1, 1500) })
	}
	all.Go(func() { send(11, 5000) })
	time.Sleep(100 * time.Millisecond)
	close(free)
	all.Wait()
	if refused.Load() != 1 {
		t.Errorf("%d were refused", refused.Load())
	}
	produced(t, c, "ehr", 11)
}

// TestKafkaRefusesOnlyWhatItsBrokerRefusesAlone: a broker that looks into records, as at a schema, refuses the batch that one is in.
func TestKafkaRefusesOnlyWhatItsBrokerRefusesAlone(t *testing.T) {
	c := startKafka(t, kfake.SeedTopics(1, "ehr"))
	d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr", "compression": "none"})
	free, first := make(chan struct{}), make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.DropControl()
		close(first)
		c.SleepControl(func() { <-free })
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		request := r.(*kmsg.ProduceRequest)
		answer := request.ResponseKind().(*kmsg.ProduceResponse)
		wrong := false
		for _, of := range request.Topics {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic, topic.TopicID = of.Topic, of.TopicID
			for _, p := range of.Partitions {
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, kerr.InvalidRecord.Code
				topic.Partitions = append(topic.Partitions, partition)
				wrong = wrong || bytes.Contains(p.Records, []byte("wrong"))
			}
			answer.Topics = append(answer.Topics, topic)
		}
		return answer, nil, wrong
	})
	var all sync.WaitGroup
	var refused atomic.Int64
	send := func(i int, body string) {
		n := note(body)
		n.ID, n.Key = strconv.Itoa(i), strconv.Itoa(i)
		var e *record.SendError
		if err := d.Send(t.Context(), n); errors.As(err, &e) && e.Verdict == record.Reject {
			refused.Add(1)
			if body != `"wrong"` {
				t.Errorf("%d is refused for another: %v", i, err)
			}
		} else if err != nil {
			t.Error(err)
		}
	}
	all.Go(func() { send(0, "{}") })
	<-first
	for i := range 10 {
		all.Go(func() { send(i+1, "{}") })
	}
	all.Go(func() { send(11, `"wrong"`) })
	time.Sleep(100 * time.Millisecond)
	close(free)
	all.Wait()
	if refused.Load() != 1 {
		t.Errorf("%d were refused", refused.Load())
	}
	produced(t, c, "ehr", 11)
}

// TestKafkaStoresOnceWhatItsBrokerAnswersLate: an attempt runs out of time, the next learns what became of the first.
func TestKafkaStoresOnceWhatItsBrokerAnswersLate(t *testing.T) {
	c := startKafka(t, kfake.SeedTopics(1, "ehr"))
	d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr"})
	free, first := make(chan struct{}), make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.DropControl()
		close(first)
		c.SleepControl(func() { <-free })
		return nil, nil, false
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	go func() { <-first; cancel(why) }()
	if err := d.Send(ctx, note("{}")); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(free) })
	if err := d.Send(t.Context(), note("{}")); err != nil {
		t.Error(err)
	}
	produced(t, c, "ehr", 1)
}

// TestKafkaStoresOnceWhatIsAnsweredWithAnError: the broker has the record, and says that it failed.
func TestKafkaStoresOnceWhatIsAnsweredWithAnError(t *testing.T) {
	c := startKafka(t, kfake.SeedTopics(1, "ehr"))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 2})
	d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr"})
	if err := d.Send(t.Context(), note("{}")); err != nil {
		t.Error(err)
	}
	produced(t, c, "ehr", 1)
}

func TestKafkaLosesNothingWhenItsBrokerIsKilled(t *testing.T) {
	const lanes, each, kills = 8, 60, 3
	dir := t.TempDir()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "ehr"), kfake.DataDir(dir), kfake.SyncWrites())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Close() }()
	_, text, _ := net.SplitHostPort(c.ListenAddrs()[0])
	port, _ := strconv.Atoi(text)
	d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr"})
	var all sync.WaitGroup
	var sent atomic.Int64
	for lane := range lanes {
		all.Go(func() { insist(t, d, fmt.Sprint("lane", lane), each, &sent) })
	}
	for kill := range kills {
		for sent.Load() < int64((kill+1)*lanes*each/(kills+1)) {
			time.Sleep(time.Millisecond)
		}
		c.Close()
		if c, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir), kfake.SyncWrites()); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	next := map[string]int{}
	for _, r := range produced(t, c, "ehr", lanes*each) {
		key := string(r.Key)
		if string(r.Value) != fmt.Sprint(next[key]) {
			t.Fatalf("%s has %s where %d is to come", key, r.Value, next[key])
		}
		next[key]++
	}
}

func TestKafkaDoesNotWaitForABrokerThatIsGone(t *testing.T) {
	c := startKafka(t, kfake.SeedTopics(1, "ehr"))
	d := open(t, "kafka", map[string]any{"brokers": c.ListenAddrs(), "topic": "ehr"})
	if err := d.Send(t.Context(), delivery.Notification{ID: "0", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for i, patience := range []time.Duration{time.Second, time.Minute, time.Minute} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := d.Send(ctx, delivery.Notification{ID: "1", Body: []byte("{}")})
		cancel()
		var e *record.SendError
		if i == 0 && errors.Is(err, context.DeadlineExceeded) {
			continue // the client has it
		}
		if !errors.As(err, &e) || e.Verdict != record.Retry || e.Text != "connection refused" {
			t.Errorf("attempt %d: %v", i, err)
		}
	}
}
