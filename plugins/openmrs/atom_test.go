// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// page is one as a module writes it, with one entry.
func page(entry string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
  <title>Patient AOP</title>
  <link rel="self" type="application/atom+xml" href="https://192.168.19.44/openmrs/ws/atomfeed/encounter/recent.form" />
  <link rel="via" type="application/atom+xml" href="https://192.168.19.44/openmrs/ws/atomfeed/encounter/32" />
  <link rel="prev-archive" type="application/atom+xml" href="https://192.168.19.44/openmrs/ws/atomfeed/encounter/31" />
  <author><name>OpenMRS</name></author>
  <id>bec795b1-3d17-451d-b43e-a094019f6984+32</id>
  <updated>2026-05-10T10:56:10Z</updated>
  <entry>` + entry + `</entry>
</feed>`
}

func TestAnEntryIsRead(t *testing.T) {
	const uuid = "e8aa08f6-86cd-42f9-8924-1b3ea021aeb4"
	for name, tt := range map[string]struct {
		entry, id string
		op        sdk.Op
		time      string
		code      sdk.Code
	}{
		"a path": {`<id> tag:a </id><updated>2026-05-10T19:44:40Z</updated><content type="application/vnd.atomfeed+xml"><![CDATA[/openmrs/ws/rest/v1/patient/` +
			uuid + `?v=full]]></content>`, uuid, "", "2026-05-10T19:44:40Z", ""},
		"the path of a module": {`<id>tag:a</id><updated>2026-05-10T19:44:40+0530</updated><content>` +
			`/openmrs/ws/rest/emrapi/encounter/` + uuid + `?includeAll=true&amp;a=/b/c</content>`, uuid, "", "2026-05-10T14:14:40Z", ""},
		"a part of a person": {`<id>tag:a</id><updated>soon</updated><content><![CDATA[{"rest": "/ws/rest/v1/person/p/name/` + uuid + `?v=full"}]]></content>`,
			uuid, "", "0001-01-01T00:00:00Z", ""},
		"a year too many": {`<id>tag:a</id><updated>9999-12-31T23:59:59-10:00</updated><content>/p/1</content>`, "1", "", "0001-01-01T00:00:00Z", ""},
		"FHIR only": {`<id>tag:a</id><category term="patient" /><category term="VOIDED,north" /><content><![CDATA[{"fhir":"/ws/fhir/Patient/` + uuid +
			`"}]]></content>`, uuid, sdk.Updated, "0001-01-01T00:00:00Z", ""},
		"a UUID of OpenMRS' own": {`<id>tag:a</id><content>/openmrs/ws/rest/v1/concept/1065AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA</content>`,
			"1065AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "", "0001-01-01T00:00:00Z", ""},
		"a record itself": {`<id>tag:a</id><content><![CDATA[{"facilityCode":"F50"}]]></content>`, "", "", "0001-01-01T00:00:00Z", sdk.CodePermanent},
		"nothing":         {`<id>tag:a</id>`, "", "", "0001-01-01T00:00:00Z", sdk.CodePermanent},
		"a list's path":   {`<id>tag:a</id><content>/openmrs/ws/rest/v1/patient/?v=full</content>`, "", "", "0001-01-01T00:00:00Z", sdk.CodePermanent},
		"no id":           {`<content>/openmrs/ws/rest/v1/patient/` + uuid + `</content>`, uuid, "", "0001-01-01T00:00:00Z", sdk.CodePermanent},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parsePage([]byte(page(tt.entry)), "GET")
			if err != nil || len(p.Entries) != 1 {
				t.Fatal(p, err)
			}
			if n, ok := p.number(); n != 32 || !ok {
				t.Errorf("page %d", n)
			}
			c := p.Entries[0].change("patient", "GET")
			if c.Ref.ID != tt.id || c.Op != tt.op || c.Time.Format(time.RFC3339) != tt.time || sdk.CodeOf(c.Err) != tt.code || !json.Valid(c.Data) {
				t.Errorf("%+v %s", c, c.Data)
			}
		})
	}
}

func TestLinksAreReadForNumbersOnly(t *testing.T) {
	for links, want := range map[string]string{
		`<link rel="via" href="http://a/openmrs/ws/atomfeed/patient/7?x=/9" />`: "7 true",
		`<link rel="via" href="7" />`:                                           "7 true",
		`<link rel="via" href="/0" />`:                                          "0 true",
		`<link rel="prev-archive" href="/6" />`:                                 "7 true",
		`<link rel="via" href="/-1" />`:                                         "1 false",
		`<link rel="via" href="/recent" /><link rel="self" href="/9" />`:        "1 false",
		``: "1 false",
	} {
		p, err := parsePage([]byte(`<feed xmlns="http://www.w3.org/2005/Atom">`+links+`</feed>`), "GET")
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := p.number(); fmt.Sprint(n, ok) != want {
			t.Errorf("%s: %d %v", links, n, ok)
		}
	}
}

func TestEntitiesDoNotGrow(t *testing.T) {
	body := `<!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>` + page(`<id>&b;</id>`)
	if p, err := parsePage([]byte(strings.Replace(body, `<?xml version="1.0" encoding="UTF-8"?>`, "", 1)), "GET"); err == nil {
		t.Errorf("%+v", p)
	}
}

func TestACharacterInAnotherEncodingDoesNotHideThePage(t *testing.T) {
	p, err := parsePage([]byte(page("<title>Donn\xe9es</title><id>tag:a</id>")), "GET")
	if err != nil || p.Entries[0].ID != "tag:a" {
		t.Error(p, err)
	}
}

func FuzzPage(f *testing.F) {
	f.Add([]byte(page(`<title>Patient</title><category term="patient,CREATED" /><id>tag:a</id><updated>2026-05-10T19:44:40Z</updated>` +
		`<content type="application/vnd.atomfeed+xml"><![CDATA[/openmrs/ws/rest/v1/patient/e8aa08f6?v=full]]></content>`)))
	f.Add([]byte(page(`<id>a</id><content>{"rest": "/p/1", "fhir": 5}</content></entry><entry><id/>`)))
	f.Add([]byte(`<feed xmlns="http://www.w3.org/2005/Atom"/>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePage(body, "GET")
		if err != nil {
			return
		}
		if n, ok := p.number(); ok && n < 0 {
			t.Errorf("page %d", n)
		}
		r := &reading{source: &source{}, feed: feed{name: "patient", category: "patient"}}
		end := p.end(3)
		r.give(p, 3, 1, end)
		var m mark
		if r.page.Cursor != nil || !parsed(r.page.Watermark, &m) || m != end || end.Page == 3 && p.find(m.Entry) != m.Place ||
			end.Page == 3 && len(r.page.Changes) != max(end.Place, 0) {
			t.Errorf("%+v of %+v", r.page, end)
		}
		for _, c := range r.page.Changes {
			if !json.Valid(c.Data) || c.Err == nil && (c.Ref.ID == "" || strings.ContainsAny(c.Ref.ID, "/?# ") || c.Version == "") {
				t.Errorf("%+v", c)
			}
		}
	})
}
