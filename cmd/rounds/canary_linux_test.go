// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// echo answers with everything that came, as debug pages do.
func echo(w http.ResponseWriter, r *http.Request, status int) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("X-Request", canaryAnswer)
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s %s %s %v %s", canaryAnswer, r.Method, r.URL, r.Header, body)
}

// hijack answers with bytes of its own.
func hijack(w http.ResponseWriter, answer string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, answer)
	_ = conn.Close()
}

// badLists are answers to the list of appointments, badPatients to the fetch of a patient; each becomes a source and a pipeline
// of its own. The value is what the log has to say of it.
var badLists = map[string]struct {
	answer func(w http.ResponseWriter, r *http.Request)
	says   string
}{
	"error500": {func(w http.ResponseWriter, r *http.Request) { echo(w, r, 500) }, "500 Internal Server Error"},
	"error400": {func(w http.ResponseWriter, r *http.Request) { echo(w, r, 400) }, "400 Bad Request"},
	"error401": {func(w http.ResponseWriter, r *http.Request) { echo(w, r, 401) }, "401 Unauthorized"},
	"error429": {func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", canaryAnswer)
		echo(w, r, 429)
	}, "429 Too Many Requests"},
	"error999": {func(w http.ResponseWriter, r *http.Request) { echo(w, r, 999) }, "999"},
	"html":     {answerText("text/html", "<title>"+canaryAnswer+canaryItem+"</title>"), "text/html"},
	"type":     {answerText(canaryAnswer+"/"+canaryName, canaryItem), "pipeline=type"},
	"cut":      {answerText("application/json", `[`+canaryItem[:60]), "pipeline=cut"},
	"invalid":  {answerText("application/json", canaryName+canaryItem), "pipeline=invalid"},
	"object":   {answerText("application/json", canaryItem), "found an object"},
	"noID":     {answerText("application/json", `[`+strings.Replace(canaryItem, `"id"`, `"key"`, 1)+`]`), "no identifier"},
	"badTime":  {answerText("application/json", `[`+strings.Replace(canaryItem, "2026-05-10T10:00:00", canaryName, 1)+`]`), "the time at"},
	"oddID":    {answerText("application/json", `[`+strings.Replace(canaryItem, `"`+canaryID+`"`, `{"a": "`+canaryID+`"}`, 1)+`]`), "found an object"},
	"redirect": {func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+canaryName+".invalid/"+canaryAnswer, http.StatusFound)
	}, "redirected to another"},
	"link":    {answerLink("<http://" + canaryName + ".invalid/" + canaryAnswer + `>; rel="next"`), "leads to another"},
	"badLink": {answerLink("<http://%zz" + canaryName + ":" + canaryAnswer + `/>; rel="next"`), "pipeline=badLink"},
	"status":  {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HTTP/1.1 2x"+canaryAnswer+" OK\r\n\r\n") }, "pipeline=status"},
	"header": {func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, "HTTP/1.1 200 OK\r\n"+canaryAnswer+" x\r\n\r\n")
	}, "pipeline=header"},
	"length": {func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: "+canaryAnswer+"\r\n\r\n")
	}, "pipeline=length"},
	"encoding": {func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd")
	}, "pipeline=encoding"},
	"nothing": {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }, "pipeline=nothing"},
}

func answerText(kind, text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, text)
	}
}

func answerLink(link string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", link)
		answerText("application/json", "["+canaryItem+"]")(w, r)
	}
}

// badPatients are answers to the fetch of the patient of a good list; 404 and 410 are what dead letters are made of.
var badPatients = map[string]func(w http.ResponseWriter, r *http.Request){
	"patient404":  func(w http.ResponseWriter, r *http.Request) { echo(w, r, 404) },
	"patient410":  func(w http.ResponseWriter, r *http.Request) { echo(w, r, 410) },
	"patient500":  func(w http.ResponseWriter, r *http.Request) { echo(w, r, 500) },
	"patient403":  func(w http.ResponseWriter, r *http.Request) { echo(w, r, 403) },
	"patientHTML": answerText("text/html", "<p>"+canaryName),
	"patientCut":  answerText("application/json", `{"name": "`+canaryName),
}

// badScripts fail with what they were given, but for a record that is marked as good.
var badScripts = map[string]string{
	"throws":    `throw new Error(change.id + fetched.patient.name + JSON.stringify(change));`,
	"object":    `throw { message: change.data.name, toString() { return change.data.name; } };`,
	"property":  `return fetched.patient[change.data.name].x;`,
	"call":      `const o = {}; return o[change.data.name]();`,
	"name":      `change.data[change.data.name] = 1; return change.data.name.name.name;`,
	"range":     `return "x".repeat(-1) + change.data.name;`,
	"json":      `return JSON.parse(change.data.name);`,
	"regexp":    `return new RegExp("(" + change.data.name);`,
	"date":      `return new Date(change.data.name).toISOString();`,
	"nan":       `return { [change.data.name]: NaN };`,
	"undefined": `return undefined;`,
	"promise":   `return Promise.reject(change.data.name);`,
	"redox":     `return Scheduling.New({ Meta: { [change.data.name]: change.data.name }, Visit: change.data.name, Patient: change.data.name });`,
	"time":      `return time.format(change.data.name, change.data.name, change.data.name);`,
	"console":   `console.log(change.data.name);`,
}

func badScript(body string) string {
	return "import { Scheduling } from \"rounds/redox\"; import * as time from \"rounds/time\";\n" +
		"export default function ({ change, fetched }) {\n  if (change.data.good) return {};\n  " + body + "\n}\n"
}

// badReceivers refuse notifications and echo them; each is a destination of the pipeline "good".
var badReceivers = map[string]func(w http.ResponseWriter, r *http.Request){
	"unprocessable": func(w http.ResponseWriter, r *http.Request) { echo(w, r, 422) },
	"buried":        func(w http.ResponseWriter, r *http.Request) { echo(w, r, 400) },
	"unauthorized":  func(w http.ResponseWriter, r *http.Request) { echo(w, r, 401) },
	"failing":       func(w http.ResponseWriter, r *http.Request) { echo(w, r, 503) },
	"moved": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/"+canaryAnswer, http.StatusMovedPermanently)
	},
	"garbled": func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HTTP/1.1 2x"+canaryAnswer+"\r\n\r\n") },
	"closing": func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") },
	"endless": func(w http.ResponseWriter, _ *http.Request) { // it goes on where its answer has ended
		hijack(w, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"+canaryAnswer+canaryName)
	},
}

const canarySourceHCL = `
source "rest" "NAME" {
  base_url = "${env("EHR_URL")}/NAME"
  timeout  = "5s"
  AUTH
  feed "appointments" {
    path    = "/appointments"
    query   = { since = "{since}", key = secret("query") }
    id      = "id"
    version = "version"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
    page "link" {}
  }
  resource "patient" {
    path  = "/patient/{id}"
    query = { key = secret("query") }
  }
}
pipeline "NAME" {
  poll {
    feed  = source.rest.NAME.feed.appointments
    every = "1s"
    start = "beginning"
  }
  fetch "patient" { id = change.data.patientID }
DELIVERS}
`

func canaryConfig() string {
	source := func(name, auth, delivers string) string {
		return strings.NewReplacer("NAME", name, "AUTH", auth, "DELIVERS", delivers).Replace(canarySourceHCL)
	}
	deliver := func(name, to, script string) string {
		return fmt.Sprintf("  deliver %q {\n    to = destination.webhook.%s\n    map = %q\n    order_by = change.data.patientID\n  }\n", name, to, script)
	}
	const bearer, basic = `auth "bearer" { token = secret("token") }`, "auth \"basic\" {\n    username = \"rounds\"\n    password = secret(\"password\")\n  }"
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(badLists)) {
		b.WriteString(source(name, []string{bearer, basic}[i%2], deliver("to", "good", "good.js")))
	}
	for _, name := range slices.Sorted(maps.Keys(badPatients)) {
		b.WriteString(source(name, bearer, deliver("to", "good", "good.js")))
	}
	var delivers string
	for _, name := range slices.Sorted(maps.Keys(badReceivers)) {
		reject := "pause"
		if name == "buried" {
			reject = "dead_letter"
		}
		fmt.Fprintf(&b, "destination \"webhook\" %q {\n  url = \"${secret(\"url\")}/%s\"\n  allow_private = true\n  on_reject = %q\n"+
			"  signing_secrets = [secret(\"signing\")]\n  headers = { Authorization = secret(\"header\") }\n}\n", name, name, reject)
		delivers += deliver(name, name, "good.js")
	}
	b.WriteString(source("good", bearer, delivers+deliver("good", "good", "good.js")))
	// A script that fails for one of two records makes a dead letter, one that fails for all holds the pipeline.
	delivers = ""
	for _, name := range slices.Sorted(maps.Keys(badScripts)) {
		delivers += deliver(name, "good", name+".js")
	}
	b.WriteString(source("some_scripts", basic, delivers))
	b.WriteString(source("some_lists", bearer, deliver("to", "good", "good.js")))
	b.WriteString(source("some_patients", bearer, deliver("to", "good", "good.js")))
	for _, name := range slices.Sorted(maps.Keys(badScripts)) {
		b.WriteString(source("all_"+name, basic, deliver(name, "good", name+".js")))
	}
	b.WriteString("destination \"webhook\" \"good\" {\n  url = \"${secret(\"url\")}/good\"\n  allow_private = true\n}\nadapter \"ledger\" { path = env(\"LEDGER\") }\n")
	for path := range leaks {
		// A process of their own, as some end it.
		fmt.Fprintf(&b, `
source "ledger" %[1]q {
  isolate = true
  path    = %[2]q
}
pipeline %[1]q {
  poll {
    feed  = source.ledger.%[1]s.feed.orders
    every = "1s"
  }
  deliver "good" {
    to  = destination.webhook.good
    map = "good.js"
  }
}
`, strings.Replace(path, ":", "_", 1), path)
	}
	return b.String()
}

// commandsShowNothing looks at all that operators' commands print that are not for looking at content. Those for a running engine fail
// without one.
func commandsShowNothing(t *testing.T, dir, mode string) {
	t.Helper()
	for _, args := range []string{
		"status", "dead list", "history list", "history list --destination webhook.failing", "replay --all --dry-run", "state show good", "adapter list",
		"dead retry --pipeline some_scripts", "dead retry --pipeline some_patients", "poll error500", "poll html", "poll badTime", "poll all_throws",
		"poll leak_error", "dead show 0123", "history show 0123", "history record 0123456789abcdef", "reload", "resume pipeline.good",
	} {
		for _, format := range [][]string{nil, {"--json"}} {
			if args == "resume pipeline.good" && format != nil {
				continue // which has no result
			}
			_, stdout, stderr := rounds(t, nil, append(append(strings.Fields(args), "--state", filepath.Join(dir, "state")), format...)...)
			noCanary(t, "rounds "+args, stdout+stderr)
			says(t, stderr, mode)
		}
	}
}

// TestInvariant6NothingThatMustNotGetOutGetsOut lets everything fail in every way with canaries in it, and looks for them in the
// logs, in what processes show of themselves, and in the names of files.
func TestInvariant6NothingThatMustNotGetOutGetsOut(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+canaryURL), "/"), "/")
		mu.Lock()
		seen[name]++
		mu.Unlock()
		switch {
		case name == "some_patients" && rest == "patient/"+canaryPatient:
			echo(w, r, 404)
		case strings.HasPrefix(rest, "patient/") && badPatients[name] != nil:
			badPatients[name](w, r)
		case strings.HasPrefix(rest, "patient/"):
			answerText("application/json", `{"id": "`+canaryPatient+`", "name": "`+canaryName+`"}`)(w, r)
		case badLists[name].answer != nil:
			badLists[name].answer(w, r)
		case badReceivers[name] != nil:
			badReceivers[name](w, r)
		case strings.HasPrefix(name, "some_"):
			good := strings.NewReplacer(canaryID, "A1", canaryPatient, "P1", `"id"`, `"good": true, "id"`).Replace(canaryItem)
			bad := canaryItem
			if name == "some_lists" {
				bad = strings.Replace(canaryItem, `"id"`, `"key"`, 1) + "," + strings.Replace(canaryItem, "2026-05-10T10:00:00", canaryName, 1)
			}
			answerText("application/json", "["+good+","+bad+"]")(w, r)
		default:
			answerText("application/json", "["+canaryItem+"]")(w, r)
		}
	}))
	files := map[string]string{
		"main.hcl": canaryConfig(), "good.js": "export default ({ change, fetched }) => ({ change, fetched });",
		"secrets/token": canaryToken, "secrets/password": canaryPassword, "secrets/query": canaryQuery, "secrets/header": "Bearer " + canaryHeader,
		"secrets/signing": "whsec_" + base64.StdEncoding.EncodeToString([]byte(canarySecret)), "secrets/url": url + "/" + canaryURL,
	}
	for name, text := range badScripts {
		files[name+".js"] = badScript(text)
	}
	dir := write(t, files)
	ledger, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"LEDGER=" + ledger, "EHR_URL=" + url, "CREDENTIALS_DIRECTORY=" + dir + "/secrets", "OTHERS_SECRET=" + canaryToken,
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20" + canaryToken}
	traces := &collector{}
	env = append(env, traces.env(t)...)
	for _, format := range []string{"text", "json"} {
		p := startRun(t, dir, env, "--log-format", format)
		if format == "text" {
			everythingFailed(t, p)
			commandsShowNothing(t, dir, byTheEngine)
		} else {
			p.eventually(30*time.Second, "running", func() bool { return strings.Contains(p.log.String(), "the poll failed") })
		}
		lookAtProcesses(t, p)
		p.stop()
		noCanary(t, "the log", p.log.String())
		noCanary(t, "stdout", p.stdout.String())
	}
	noCanary(t, "a trace", traces.raw.String())
	commandsShowNothing(t, dir, byTheState)
	shown, _ := command(t, dir, 0, "dead", "show", asked[[]operate.DeadLetter](t, dir, 0, "dead", "list", "--pipeline", "some_patients")[0].ID)
	says(t, shown, canaryID, canaryName)
	audit, err := os.ReadFile(filepath.Join(dir, "state", "audit.log"))
	if err != nil || len(audit) == 0 {
		t.Errorf("the look is not in the audit log: %v", err)
	}
	noCanary(t, "the audit log", string(audit))
	if len(traces.spans) == 0 {
		t.Error("nothing was traced")
	}
	err = filepath.WalkDir(filepath.Join(dir, "state"), func(path string, _ fs.DirEntry, err error) error {
		noCanary(t, "the name of a file", path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// That the canaries were there is shown by what is kept for a person.
	kept := map[string]int{}
	for _, d := range deadLetters(t, dir, -1) {
		if strings.Contains(string(d.Record)+d.Cause.Detail, "Canary") {
			kept[d.Pipeline]++
		}
		noCanary(t, "the loggable cause of a dead letter", d.Cause.Text+d.Cause.Code+d.ID)
	}
	want := map[string]int{"good": 1, "some_scripts": len(badScripts), "some_lists": 2, "some_patients": 1}
	if !maps.Equal(kept, want) {
		t.Errorf("dead letters with their content: %v, want %v", kept, want)
	}
	mu.Lock()
	defer mu.Unlock()
	for name := range badReceivers {
		if seen[name] == 0 {
			t.Errorf("nothing was sent to %s", name)
		}
	}
}

// everythingFailed waits until the log tells of each failure.
func everythingFailed(t *testing.T, p *process) {
	t.Helper()
	var texts []string
	for name, l := range badLists {
		texts = append(texts, "pipeline="+name+" ", l.says)
	}
	for path := range leaks {
		texts = append(texts, "pipeline="+strings.Replace(path, ":", "_", 1)+" ")
	}
	for name := range badPatients {
		texts = append(texts, "pipeline="+name+" ")
	}
	for name := range badReceivers {
		texts = append(texts, "destination=webhook."+name+" ")
	}
	for name := range badScripts {
		texts = append(texts, "pipeline=all_"+name+" ", name+".js:")
	}
	for _, name := range []string{"scripts", "lists", "patients"} {
		texts = append(texts, `msg="changes became dead letters" pipeline=some_`+name)
	}
	p.logged(texts...)
}

// lookAtProcesses looks at what others on the machine can see of the engine and of its adapters, and at the environment that an
// adapter got.
func lookAtProcesses(t *testing.T, p *process) {
	t.Helper()
	adapters := children(t, p.cmd.Process.Pid)
	if len(adapters) == 0 {
		t.Error("no adapter runs")
	}
	for i, pid := range append(adapters, p.cmd.Process.Pid) {
		noCoreDump(t, pid)
		for _, file := range []string{"cmdline", "comm", "environ"} {
			if file == "environ" && (i == len(adapters) || os.Geteuid() != 0) {
				continue // the engine's is what the test gave it; and an adapter's only root can read, once it has secrets
			}
			data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
			if err != nil {
				t.Fatal(err)
			}
			noCanary(t, file, string(data))
		}
	}
	err := filepath.WalkDir(p.temp, func(path string, entry fs.DirEntry, err error) error {
		noCanary(t, "the name of a temporary file", path)
		if err == nil && entry.Type().IsRegular() {
			t.Errorf("there is a temporary file: %s", path)
		}
		return nil // what ends meanwhile takes its socket along
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestInvariant6ACrashShowsNoContent ends an engine that holds records and secrets the way that shows most of it.
func TestInvariant6ACrashShowsNoContent(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/patient/") {
			answerText("application/json", "["+canaryItem+"]")(w, r)
			return
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		<-r.Context().Done() // so that the record is being worked on
	}))
	hcl := strings.NewReplacer("NAME", "good", "AUTH", `auth "bearer" { token = secret("token") }`, "DELIVERS",
		"deliver \"to\" {\n    to  = destination.stdout.good\n    map = \"good.js\"\n  }\n").Replace(canarySourceHCL) +
		"destination \"stdout\" \"good\" {}\n"
	dir := write(t, map[string]string{"main.hcl": hcl, "good.js": "export default ({ change, fetched }) => ({ change, fetched });",
		"secrets/token": canaryToken, "secrets/query": canaryQuery})
	temp, err := os.MkdirTemp("", "rt") // not t.TempDir: sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	// The shell allows core dumps as far as it may.
	c := exec.Command("/bin/sh", "-c", `ulimit -S -c "$(ulimit -H -c)"; exec "$@"`, "sh", binary, "run", "--state", dir+"/state", dir)
	c.Env = append(os.Environ(), "EHR_URL="+url, "CREDENTIALS_DIRECTORY="+dir+"/secrets", "GOTRACEBACK=crash", "TMPDIR="+temp)
	c.Dir = t.TempDir() // where a core dump would be
	log := &output{}
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-time.After(30 * time.Second):
		t.Error("no patient was asked for")
	}
	if err := c.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Error(err)
	}
	_ = c.Wait() // it crashed
	if status := c.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.CoreDump() {
		t.Errorf("the engine ended with %v", c.ProcessState)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if !strings.Contains(log.String(), "engine/pipeline.(*window).enrich") {
		t.Errorf("the engine did not say where it was:\n%s", log)
	}
	noCanary(t, "the crash", log.String())
}
