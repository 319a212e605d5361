// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// Two receivers of HL7 v2. Each prints what it read of a message as its own parser has it, and refuses the messages whose reason
// says so.
const (
	pythonHL7 = `
import asyncio, json, sys
import hl7
from hl7.mllp import start_hl7_server

async def serve(reader, writer):
    try:
        while True:
            m = await reader.readmessage()
            read = m.extract_field  # without escape sequences
            reason = read('SCH', 1, 7, 1, 2)
            code = 'AE' if 'REFUSE' in reason else 'AA'
            print(json.dumps({'control': str(m['MSH'][0][10]), 'type': str(m['MSH'][0][9]), 'code': code, 'visit': read('SCH', 1, 2),
                'reason': reason, 'family': read('PID', 1, 5, 1, 1), 'given': read('PID', 1, 5, 1, 2), 'mrn': read('PID', 1, 3, 1, 1),
                'authority': read('PID', 1, 3, 2, 4), 'segments': [str(s[0]) for s in m]}), flush=True)
            writer.writemessage(m.create_ack(ack_code=code))
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    async with await start_hl7_server(serve, host='127.0.0.1', port=int(sys.argv[1]), encoding='utf-8') as server:
        await server.serve_forever()

asyncio.run(main())
`
	nodeHL7 = `
const { Server } = require('node-hl7-server');
const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port: Number(process.argv[2]) }, async (request, response) => {
  const m = request.getMessage();
  const get = (path) => m.get(path).toString();
  const reason = get('SCH.7.2');
  const code = reason.includes('REFUSE') ? 'AE' : 'AA';
  console.log(JSON.stringify({ control: get('MSH.10'), type: [1, 2, 3].map((n) => get('MSH.9.' + n)).join('^'), code, visit: get('SCH.2'), reason, family: get('PID.5.1'),
    given: get('PID.5.2'), mrn: get('PID.3.1') }));
  await response.sendResponse(code);
});
inbound.on('error', (error) => console.error(error));
inbound.on('data.error', (error) => console.error(error));
`
)

const hl7Mapping = `
import { SIU } from "rounds/hl7v2";
export default ({ change, fetched: { patient } }) => SIU.S14({
  zone: "America/New_York",
  SCH: { fillerID: change.id, reason: { text: (change.data.status === "cancelled" ? "REFUSE " : "") + "a|b^c&d~e\\f" }, timing: { start: change.data.start } },
  NTE: "first line\nsecond line",
  PID: {
    identifiers: [{ id: patient.mrn, authority: "CLINIC", type: "MR" }, { id: patient.id, authority: { namespace: "E|HR" }, type: "PI" }],
    name: { family: "Żółć & " + patient.name.last, given: patient.name.first },
    birthDate: patient.birthDate,
  },
  AIL: { location: { room: "3" } },
});
`

type hl7Arrival struct {
	Control, Type, Code, Visit, Reason, Family, Given, MRN, Authority string
	Segments                                                          []string
}

// A receiver that nobody here wrote gets each change as a message that its own parser reads as it was meant, also after it was
// restarted; what it refuses becomes a dead letter, and is sent once.
func TestCounterpartHL7Receivers(t *testing.T) {
	t.Parallel()
	for name, command := range map[string][]string{
		"python3-hl7":     {"/usr/bin/python3", "hospital.py"},
		"node-hl7-server": {"node", "hospital.cjs"},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); deliverHL7(t, name, command) })
	}
}

func deliverHL7(t *testing.T, name string, command []string) {
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	hcl := replaced(t, fmt.Sprintf(plainEHR, "destination.mllp.his"), "  deliver", "  fetch \"patient\" {\n    id = change.data.patientID\n  }\n  deliver",
		"\n}\n\npipeline", "\n  resource \"patient\" {\n    path = \"/patient/{id}\"\n  }\n}\n\npipeline",
		`map = "map.js"`, "map = \"map.js\"\n    order_by = change.data.patientID")
	dir := write(t, map[string]string{
		"hospital.py": pythonHL7, "hospital.cjs": nodeHL7, "map.js": hl7Mapping,
		"main.hcl": hcl + `
destination "mllp" "his" {
  address   = env("HIS_ADDRESS")
  on_reject = "dead_letter"
  timeout   = "10s"
}`,
	})
	port := freePort(t)
	var mu sync.Mutex
	var arrivals []hl7Arrival
	arrived := func() []hl7Arrival {
		mu.Lock()
		defer mu.Unlock()
		return append([]hl7Arrival(nil), arrivals...)
	}
	hospital := func() (stop func()) {
		p := exec.Command(command[0], filepath.Join(dir, command[1]), port)
		p.Env = append(os.Environ(), "NODE_PATH="+nodeModules(t))
		p.Stderr = os.Stderr
		out, err := p.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			for s := bufio.NewScanner(out); s.Scan(); {
				var a hl7Arrival
				if err := json.Unmarshal(s.Bytes(), &a); err != nil {
					t.Errorf("%s printed %q", name, s.Text())
					continue
				}
				mu.Lock()
				arrivals = append(arrivals, a)
				mu.Unlock()
			}
		}()
		stop = sync.OnceFunc(func() {
			_ = p.Process.Kill()
			<-read
			_ = p.Wait()
		})
		t.Cleanup(stop)
		eventually(t, 20*time.Second, name+" listens", func() bool {
			conn, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		return stop
	}
	stop := hospital()
	p := startRun(t, dir, []string{"EHR_URL=" + c.ehrURL, "HIS_ADDRESS=127.0.0.1:" + port})
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	ids := c.IDs()
	moved := func(ids []string) {
		t.Helper()
		before := len(arrived())
		for _, id := range ids {
			if err := c.Move(id, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		p.eventually(time.Minute, "all arrived", func() bool { return len(arrived()) >= before+len(ids) })
	}
	moved(ids[:20])
	moved(ids[:5]) // on connections that are kept
	stop()
	for _, id := range ids[20:25] {
		if err := c.Move(id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	p.logged("a delivery failed and will be repeated")
	before := len(arrived())
	hospital()
	p.eventually(time.Minute, "what waited arrived", func() bool { return len(arrived()) >= before+5 })
	p.logged("deliveries succeed again")
	if err := c.Cancel(ids[30], "Patient"); err != nil {
		t.Fatal(err)
	}
	p.logged("it became a dead letter", "code=hl7_ae")
	moved(ids[31:33])
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	told := map[string]bool{}
	for _, a := range arrived() {
		// node-hl7-server hands out, and acknowledges, what came before on a connection with each message that comes on it.
		if told[a.Control] && name != "node-hl7-server" || len(a.Control) != 20 {
			t.Errorf("the control id %q came twice, or is none", a.Control)
		}
		told[a.Control] = true
		appointment, err := c.Appointment(a.Visit)
		if err != nil {
			t.Fatal(err)
		}
		var patient struct {
			MRN  string
			Name struct{ First, Last string }
		}
		if err := json.Unmarshal(patientOf(t, c.EHR, appointment.PatientID), &patient); err != nil {
			t.Fatal(err)
		}
		reason, family := `a|b^c&d~e\f`, "Żółć & "+patient.Name.Last
		if a.Code == "AE" {
			reason = "REFUSE " + reason
		}
		if name == "node-hl7-server" { // it leaves escape sequences to its user
			unescape := strings.NewReplacer(`\F\`, "|", `\S\`, "^", `\T\`, "&", `\R\`, "~", `\E\`, `\`)
			a.Reason, a.Family = unescape.Replace(a.Reason), unescape.Replace(a.Family)
		} else if a.Authority != "E|HR" || strings.Join(a.Segments, " ") != "MSH SCH NTE PID RGS AIL" {
			t.Errorf("%s reads %+v", name, a)
		}
		if a.Type != "SIU^S14^SIU_S12" || a.Reason != reason || a.Family != family || a.Given != patient.Name.First || a.MRN != patient.MRN ||
			(a.Code == "AE") != (a.Visit == ids[30]) {
			t.Errorf("%s reads %+v, want %q, %q", name, a, reason, family)
		}
	}
	if len(told) != 33 {
		t.Errorf("%d messages arrived, want 33", len(told))
	}
}
