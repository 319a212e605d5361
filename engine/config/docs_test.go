// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// documented are the adapters of the reference: the real schema of the bundled one, and one that stands for all others.
type documented struct{}

func (documented) Describe(_ context.Context, a config.Adapter) (info sdk.Info, s schema.Schema, err error) {
	if a.Name == "rest" {
		s, err = schema.Of(rest.Config{})
	} else {
		s, err = schema.Of(orthancConfig{})
	}
	return info, s, err
}

func (documented) Validate(_ context.Context, a config.Adapter, data []byte) error {
	if a.Name != "rest" {
		return nil
	}
	var c rest.Config
	if err := schema.Decode(data, &c); err != nil {
		return err
	}
	return c.Validate()
}

var fenced = regexp.MustCompile("(?ms)^```hcl\n(.*?)^```$")

// Those of the page on rest are parts of configurations too.
func TestTheReferencesExamplesAreOneConfiguration(t *testing.T) {
	dir := t.TempDir()
	for page, name := range []string{"hcl-reference.md", "adapters/rest.md"} {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for i, example := range fenced.FindAllSubmatch(text, -1) {
			write(t, filepath.Join(dir, fmt.Sprintf("%d-%02d.hcl", page, i)), string(example[1]))
		}
	}
	for _, name := range []string{"clinic_token", "notify", "notify_old", "appointment.js", "screen.ts", "order.js", "web_token"} {
		write(t, filepath.Join(dir, name), "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
	}
	write(t, filepath.Join(dir, "departments.csv"), "code,name\nCARD,Cardiology\n")
	for _, name := range []string{"lab_tenant", "lab_client", "verification_token", "receiver_token", "nats_password", "kafka_password"} {
		write(t, filepath.Join(dir, name), "secret")
	}
	server := httptest.NewTLSServer(nil)
	server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	write(t, filepath.Join(dir, "lab-ca.pem"), string(ca))
	write(t, filepath.Join(dir, "client.pem"), string(ca))
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "client_key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	write(t, filepath.Join(dir, "ehr_key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	write(t, filepath.Join(dir, "his-ca.pem"), string(ca))
	o := options(dir)
	o.Values = []config.Value{{Name: "lab_token", Text: "x"}}
	o.Adapters = documented{}
	o.Destinations = destination.Schemas()
	o.CheckDestination = destination.Check
	o.LookupEnv = func(name string) (string, bool) {
		v, ok := map[string]string{"NOTIFY_URL": "https://receiver.example", "ORDERS_PARALLEL": "4"}[name]
		return v, ok
	}
	c, files, diags := config.Load(t.Context(), dir, o)
	if len(diags) > 0 {
		var out strings.Builder
		config.WriteDiagnostics(&out, files, diags, false, 0)
		t.Fatal(out.String())
	}
	if len(c.Sources) != 7 || len(c.Destinations) != 10 || len(c.Pipelines) != 5 || len(c.Tables) != 2 || len(c.Moves) != 1 ||
		len(c.Alerts) != 6 {
		t.Errorf("%d sources, %d destinations, %d pipelines, %d tables, %d moves, %d alerts",
			len(c.Sources), len(c.Destinations), len(c.Pipelines), len(c.Tables), len(c.Moves), len(c.Alerts))
	}
}

func TestTheReferenceListsTheFunctions(t *testing.T) {
	text, err := os.ReadFile("../../docs/hcl-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`\w+\(.*?) \|`).FindAllSubmatch(text, -1) {
		for _, call := range regexp.MustCompile("`(\\w+)\\(").FindAllSubmatch(row[1], -1) {
			listed = append(listed, string(call[1]))
		}
	}
	slices.Sort(listed)
	if !slices.Equal(listed, config.Functions()) {
		t.Errorf("the reference lists %v\nthere are      %v", listed, config.Functions())
	}
}

func TestNoDestinationTakesTheNamesThatAllHave(t *testing.T) {
	for kind, s := range destination.Schemas() {
		for _, a := range s.Attributes {
			if slices.Contains([]string{"parallel", "on_reject", "timeout"}, a.Name) {
				t.Errorf("%s.%s is the engine's own name", kind, a.Name)
			}
		}
	}
}
