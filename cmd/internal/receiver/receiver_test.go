// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package receiver_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
)

const (
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	body   = `{"Meta":{"EventType":"New","EventDateTime":"2026-05-10T10:00:00Z"},` +
		`"Patient":{"Identifiers":[{"ID":"P1"}]},"Visit":{"VisitNumber":"V1"}}`
)

func serve(t *testing.T, o receiver.Options) (*receiver.Receiver, string) {
	t.Helper()
	r, err := receiver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return r, s.URL
}

func post(t *testing.T, url, id, body, signature string) (int, error) {
	t.Helper()
	q, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("webhook-id", id)
	q.Header.Set("webhook-timestamp", strconv.FormatInt(time.Now().Unix(), 10))
	q.Header.Set("webhook-signature", signature)
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

func TestItRemembersWhatArrivedInOrder(t *testing.T) {
	for _, digest := range []bool{false, true} {
		r, url := serve(t, receiver.Options{Digest: digest})
		for _, id := range []string{"one", "two"} {
			if status, err := post(t, url, id, body, ""); err != nil || status != http.StatusNoContent {
				t.Fatal(status, err)
			}
		}
		got := r.Received(0)
		if len(got) != 2 || got[0].ID != "one" || got[1].ID != "two" || got[1].Number != 2 || r.Accepted() != 2 {
			t.Fatalf("digest %v: %+v", digest, got)
		}
		one := got[0]
		if one.Visit != "V1" || one.Patient != "P1" || one.Event != "New" || one.Version != "2026-05-10T10:00:00Z" ||
			one.Hash == "" || one.Signature != "unchecked" {
			t.Fatalf("digest %v: %+v", digest, one)
		}
		if len(r.Received(1)) != 1 {
			t.Fatal("after the first there is one")
		}
	}
}

func TestSignaturesAreChecked(t *testing.T) {
	r, url := serve(t, receiver.Options{Secret: secret})
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	// The seconds of signing and sending may differ by one.
	var both []string
	for _, at := range []time.Time{time.Now(), time.Now().Add(time.Second)} {
		one, err := signer.Sign("id", at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, one)
	}
	for _, signature := range []string{strings.Join(both, " "), "v1,AAAA", ""} {
		if _, err := post(t, url, "id", body, signature); err != nil {
			t.Fatal(err)
		}
	}
	got := r.Received(0)
	if got[0].Signature != "valid" || got[1].Signature != "invalid" || got[2].Signature != "invalid" {
		t.Fatalf("%+v", got)
	}
}

func TestFaultsBefallOnlyWhomTheyShould(t *testing.T) {
	r, url := serve(t, receiver.Options{})
	r.SetFaults(receiver.Faults{Status: http.StatusServiceUnavailable, Failing: 1, Only: "P1"})
	if status, err := post(t, url, "one", body, ""); err != nil || status != http.StatusServiceUnavailable {
		t.Fatal(status, err)
	}
	if status, err := post(t, url, "two", strings.ReplaceAll(body, "P1", "P2"), ""); err != nil || status != http.StatusNoContent {
		t.Fatal(status, err)
	}
	r.SetFaults(receiver.Faults{Closing: 1})
	if _, err := post(t, url, "three", body, ""); err == nil {
		t.Fatal("the connection was to be closed")
	}
	if got := r.Received(0); len(got) != 3 || got[0].Accepted() || !got[1].Accepted() || got[2].Status != 0 || r.Accepted() != 1 {
		t.Fatalf("%+v", got)
	}
}
