// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"golang.org/x/sync/semaphore"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/record"
)

type kafkaConfig struct {
	_               struct{}   `doc:"Produces each notification to a topic of Kafka, keyed by the ordering key, and waits until all in-sync replicas have it."`
	Brokers         []string   `hcl:"brokers" doc:"Addresses of brokers to begin with, host:9092."`
	Topic           string     `hcl:"topic" doc:"The topic, which has to exist."`
	Compression     string     `hcl:"compression,optional" default:"snappy" values:"none,gzip,snappy,lz4,zstd" doc:"How batches are compressed."`
	MaxMessageBytes int        `hcl:"max_message_bytes,optional" default:"1000012" doc:"Size of a batch at most, before compression: the max.message.bytes of the topic. A larger notification is refused."`
	Auth            *kafkaAuth `hcl:"auth,block"`
	TLS             *tlsConfig `hcl:"tls,block"`

	options []kgo.Opt // set by check
}

type kafkaAuth struct {
	_        struct{} `doc:"SASL: plain, scram-sha-256 or scram-sha-512. With plain the password is seen by the brokers, and without TLS by the network."`
	Kind     string   `hcl:"kind,label"`
	Username string   `hcl:"username" doc:"The user."`
	Password string   `hcl:"password,sensitive" doc:"The user's password."`
}

const (
	minMessage = 1 << 10
	maxMessage = 64 << 20
	kafkaDial  = 5 * time.Second        // for one broker, TLS included
	kafkaAgain = 500 * time.Millisecond // between two questions for the brokers and partitions of the topic, at least
)

func (c *kafkaConfig) check() error {
	if len(c.Brokers) == 0 {
		return blame("brokers", "names no broker")
	}
	for i, broker := range c.Brokers {
		host, port, err := net.SplitHostPort(broker)
		if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 || strings.ContainsAny(host, "/@ ") {
			return blame("brokers", "number %d is not an address like host:9092", i+1)
		}
	}
	if !isTopic(c.Topic) {
		return blame("topic", "is not the name of a topic: at most 249 of letters, digits, dots, hyphens and underscores")
	}
	if c.MaxMessageBytes < minMessage || c.MaxMessageBytes > maxMessage {
		return blame("max_message_bytes", "is from %d to %d", minMessage, maxMessage)
	}
	c.options = []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.DefaultProduceTopic(c.Topic), kgo.ClientID("rounds"), kgo.DisableClientMetrics(),
		kgo.DialTimeout(kafkaDial), kgo.MetadataMinAge(kafkaAgain), kgo.UnknownTopicRetries(2), kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(int32(c.MaxMessageBytes)), kgo.ProducerBatchCompression(map[string]kgo.CompressionCodec{
			"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(),
			"zstd": kgo.ZstdCompression(),
		}[c.Compression])}
	t, err := c.TLS.compile()
	if err != nil {
		return err
	}
	if c.TLS != nil {
		c.options = append(c.options, kgo.DialTLSConfig(t))
	}
	if a := c.Auth; a != nil {
		if a.Username == "" || a.Password == "" {
			return blame("auth."+a.Kind, "needs username and password")
		}
		switch scrammed := (scram.Auth{User: a.Username, Pass: a.Password}); a.Kind {
		case "plain":
			c.options = append(c.options, kgo.SASL(plain.Auth{User: a.Username, Pass: a.Password}.AsMechanism()))
		case "scram-sha-256":
			c.options = append(c.options, kgo.SASL(scrammed.AsSha256Mechanism()))
		case "scram-sha-512":
			c.options = append(c.options, kgo.SASL(scrammed.AsSha512Mechanism()))
		default:
			return blame("auth."+a.Kind, "is not a way to authenticate; there are plain, scram-sha-256 and scram-sha-512")
		}
	}
	if err := kgo.ValidateOpts(c.options...); err != nil { // not to be expected: all values were checked
		return blame("brokers", "can't be used (%T)", err)
	}
	return nil
}

// isTopic is the rule of Kafka's own Topic.validate.
func isTopic(s string) bool {
	const marks = "._-"
	return s != "" && s != "." && s != ".." && len(s) <= 249 && strings.Trim(s, marks+letters+digits) == ""
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

func (c *kafkaConfig) open() Destination {
	return &kafka{options: c.options, topic: c.Topic, pending: map[string]*produced{}, batches: semaphore.NewWeighted(allBatches)}
}

// kafka produces with the client's idempotence, so that what the client repeats by itself stands in the topic once. An attempt that
// ran out of time while a broker may or may not have its record is not given up by the client, as its order and its uniqueness would
// be lost; the next attempt waits for the same record.
type kafka struct {
	options []kgo.Opt
	topic   string
	reached atomic.Bool         // a broker has answered since the last trouble
	batches *semaphore.Weighted // held by one for a record among others, whole for a record alone

	mu      sync.Mutex
	client  *kgo.Client          // made for the first notification
	pending map[string]*produced // by id, what the client has and no attempt has learnt the outcome of
}

type produced struct {
	done chan struct{}
	err  error
}

const allBatches = 1 << 20

func (k *kafka) Send(ctx context.Context, n delivery.Notification) error {
	client, err := k.opened()
	if err != nil {
		return err
	}
	if !k.reached.Load() { // to know why a broker can't be spoken to, which producing does not tell
		if err := client.Ping(ctx); err != nil {
			if ctx.Err() != nil {
				return canceled(ctx)
			}
			return kafkaError(err)
		}
		k.reached.Store(true)
	}
	err = k.produce(ctx, client, n, 1)
	if err != nil && kafkaError(err).Verdict == record.Reject { // brokers refuse batches: another in it may be what is wrong
		err = k.produce(ctx, client, n, allBatches)
	}
	if err == nil {
		return nil
	}
	e := kafkaError(err)
	if e.Verdict == record.Retry {
		k.reached.Store(false)
	}
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	return e
}

// Probe asks a broker for the topic.
func (k *kafka) Probe(ctx context.Context) error {
	client, err := k.opened()
	if err != nil {
		return err
	}
	if err := client.Ping(ctx); err != nil {
		return kafkaError(err)
	}
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &k.topic
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{topic}
	answer, err := q.RequestWith(ctx, client)
	if err == nil {
		for _, t := range answer.Topics {
			err = errors.Join(err, kerr.ErrorForCode(t.ErrorCode))
		}
	}
	if err != nil {
		return kafkaError(err)
	}
	return nil
}

// produce returns the client's error for the record of a notification, or that of ctx.
func (k *kafka) produce(ctx context.Context, client *kgo.Client, n delivery.Notification, share int64) error {
	if err := k.batches.Acquire(ctx, share); err != nil {
		return err
	}
	defer k.batches.Release(share)
	k.mu.Lock()
	p, waits := k.pending[n.ID]
	if !waits {
		p = &produced{done: make(chan struct{})}
		k.pending[n.ID] = p
	}
	k.mu.Unlock()
	if !waits {
		r := &kgo.Record{Value: n.Body, Headers: []kgo.RecordHeader{
			{Key: "rounds-id", Value: []byte(n.ID)}, {Key: "rounds-pipeline", Value: []byte(n.Pipeline)},
			{Key: "rounds-deliver", Value: []byte(n.Deliver)}, {Key: "content-type", Value: []byte("application/json")},
		}}
		if n.Trace != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "traceparent", Value: []byte(n.Trace)})
		}
		if n.Key != "" {
			r.Key = []byte(n.Key)
		}
		client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				k.forget(n.ID) // the next attempt is a new record
			}
			p.err = err
			close(p.done)
		})
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		select {
		case <-p.done: // as long as both are true, what is stored counts
		default:
			return ctx.Err()
		}
	}
	if p.err == nil {
		k.forget(n.ID)
	}
	return p.err
}

func (k *kafka) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pending, id)
}

func (k *kafka) opened() (*kgo.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.client == nil {
		client, err := kgo.NewClient(k.options...)
		if err != nil { // not to be expected: the options were validated
			return nil, &record.SendError{Verdict: record.Pause, Code: "kafka", Text: "the client can't be made of this configuration"}
		}
		k.client = client
	}
	return k.client, nil
}

func (k *kafka) Close() error {
	k.mu.Lock()
	client := k.client
	k.mu.Unlock()
	if client != nil {
		client.Close() // ends what is pending, so without the lock
	}
	return nil
}
