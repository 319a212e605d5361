// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

//go:embed assets/htmx.min.js assets/page.js assets/style.css assets/icon.svg
var assetFiles embed.FS

//go:embed templates/*.html
var templateFiles embed.FS

type asset struct {
	kind string
	data []byte
}

// assets are the files that pages are made of. The name of each holds a hash of what is in it, so that a browser may keep it.
var assets = sync.OnceValue(func() (all struct {
	byName map[string]asset
	names  map[string]string // by the name of the file
}) {
	all.byName, all.names = map[string]asset{}, map[string]string{}
	for name, kind := range map[string]string{
		"htmx.min.js": "text/javascript; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "style.css": "text/css; charset=utf-8",
		"icon.svg": "image/svg+xml",
	} {
		data, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(data)
		hashed := hex.EncodeToString(sum[:8]) + "." + name
		all.byName[hashed], all.names[name] = asset{kind, data}, "/assets/"+hashed
	}
	return all
})

func serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := assets().byName[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.data) // who asked may be gone
}

var functions = template.FuncMap{
	"asset":   func(name string) string { return assets().names[name] },
	"mood":    mood,
	"words":   func(state string) string { return strings.ReplaceAll(state, "_", " ") },
	"span":    span,
	"ago":     func(now, at time.Time) string { return span(now.Sub(at)) + " ago" },
	"ahead":   func(now, at time.Time) string { return ahead(now, at) },
	"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"rfc":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"precise": func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"field":   func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04") },
	"tokens":  tokens,
	"pretty":  pretty,
	"short":   func(id string) string { return id[:min(len(id), 12)] },
	"stamp":   func(now, at time.Time) stamp { return stamp{now, at} },
	"plural":  plural,
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

type stamp struct{ Now, At time.Time }

// pages are the templates, each with the layout around it.
var pages = sync.OnceValue(func() map[string]*template.Template {
	layout := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html"))
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // it is embedded
	}
	all := map[string]*template.Template{}
	for _, f := range files {
		if f.Name() != "layout.html" {
			t := template.Must(layout.Clone())
			all[strings.TrimSuffix(f.Name(), path.Ext(f.Name()))] = template.Must(t.ParseFS(templateFiles, "templates/"+f.Name()))
		}
	}
	return all
})

func render(w io.Writer, v view) error {
	t := pages()[v.Template]
	if t == nil {
		return fmt.Errorf("there is no template %q", v.Template)
	}
	part := v.Part
	if part == "" {
		part = "page"
	}
	return t.ExecuteTemplate(w, part, v)
}

// mood is how a state is coloured; the words of it are beside.
func mood(state string) string {
	switch state {
	case "waiting", "polling", "delivering", "open", "delivered", "mapped", "polled", "fetched":
		return "good"
	case "failing", "gap", "not_ready", "dead_letter", "held":
		return "bad"
	case "backing_off", "paused", "orphan", "attempt":
		return "warn"
	}
	return "idle"
}

// span is a length of time for a person.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d >= 10*time.Minute && d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func ahead(now, at time.Time) string {
	if !at.After(now) {
		return "now"
	}
	return "in " + span(at.Sub(now))
}

// pretty is JSON with line breaks.
func pretty(data json.RawMessage) string {
	var out bytes.Buffer
	if json.Indent(&out, data, "", "  ") != nil {
		return string(data)
	}
	return out.String()
}

// token is a piece of JSON that is coloured alike.
type token struct{ Class, Text string }

// Above this many bytes JSON is not coloured: a browser would have to keep an element for each piece.
const maxColoured = 256 << 10

// tokens cuts JSON, which is shown with line breaks, into pieces: names of members, texts and all other values.
func tokens(data json.RawMessage) (list []token) {
	text := pretty(data)
	if len(text) > maxColoured {
		return []token{{"", text}}
	}
	for len(text) > 0 {
		class, n := "", 0
		switch c := text[0]; {
		case c == '"':
			for n = 1; n < len(text) && text[n] != '"'; n++ {
				if text[n] == '\\' {
					n++
				}
			}
			n = min(n+1, len(text))
			if class = "text"; strings.HasPrefix(text[n:], ":") {
				class = "name"
			}
		case strings.IndexByte("-0123456789tfn", c) >= 0:
			class = "value"
			if n = strings.IndexAny(text, ",\n ]}"); n < 0 {
				n = len(text)
			}
		default:
			if n = strings.IndexAny(text, `"-0123456789tfn`); n <= 0 {
				n = len(text)
			}
		}
		list, text = append(list, token{class, text[:n]}), text[n:]
	}
	return list
}

// want is something that wants a person.
type want struct {
	What string // "pipeline appointments"
	Link string
	Why  string
}

// wants lists what a person should look at.
func wants(st *operate.Status) (all []want) {
	add := func(what, link, format string, args ...any) {
		all = append(all, want{what, link, strings.TrimSuffix(fmt.Sprintf(format, args...), ": ")})
	}
	for _, p := range st.Pipelines {
		what, link := "Pipeline "+p.Name, "/pipelines/"+p.Name
		switch p.State {
		case "failing", "paused", "gap":
			add(what, link, "%s: %s", p.State, p.Why)
		case "orphan":
			add(what, link, "in the state, and not in the configuration")
		}
		if p.DeadLetters > 0 {
			add(what, "/dead?pipeline="+template.URLQueryEscaper(p.Name), "%s", plural(p.DeadLetters, "dead letter", "dead letters"))
		}
	}
	for _, d := range st.Destinations {
		what, link := "Destination "+d.Name, "/destinations/"+d.Name
		switch d.State {
		case "backing_off", "paused":
			add(what, link, "%s: %s", strings.ReplaceAll(d.State, "_", " "), d.Why)
		case "orphan":
			add(what, link, "%d wait for it, and it is not in the configuration", d.Waiting)
		}
		if d.Held > 0 {
			add(what, link, "%s behind a notification that its receiver refuses", plural(d.Held, "lane is held", "lanes are held"))
		}
	}
	for _, s := range st.Sources {
		if s.State == "not_ready" {
			add("Source "+s.Name, "/#sources", "not ready: %s", s.Why)
		}
	}
	for _, a := range st.Attached {
		add("Adapter "+a.Adapter, "/#sources", "attached to be debugged, at %s: a debugger reads what it is given, secrets and records", a.Address)
	}
	if st.Reload != nil && st.Reload.Error != "" {
		add("Configuration", "/#configuration", "it was read again, has a mistake, and changes nothing")
	}
	return all
}
