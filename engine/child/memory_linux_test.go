// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package child_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/child"
)

func TestTheMemoryOfAProgramIsKnownWhileItRuns(t *testing.T) {
	p, err := child.Start(child.Command{Path: "/bin/sleep", Arguments: []string{"3600"}})
	if err != nil {
		t.Fatal(err)
	}
	if used, known := p.Memory(); !known || used <= 0 || used > 64<<20 {
		t.Errorf("sleep takes %d bytes, %v", used, known)
	}
	p.Kill()
	<-p.Exited()
	if used, known := p.Memory(); known {
		t.Errorf("after its end it takes %d bytes", used)
	}
	if all := child.AllMemory(); all < 64<<20 {
		t.Errorf("there are %d bytes of memory", all)
	}
}

// TestTheMemoryOfAProgramInManyGroupsIsKnown: the groups of its user stand before it, as many as a directory of a hospital gives him.
func TestTheMemoryOfAProgramInManyGroupsIsKnown(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can set groups")
	}
	groups := strings.TrimSuffix(strings.Repeat("1000000001,", 2000), ",")
	p, err := child.Start(child.Command{Path: "/usr/bin/setpriv", Arguments: []string{"--groups", groups, "/bin/sleep", "3600"}})
	if err != nil {
		t.Skip(child.Reason(err))
	}
	defer p.Kill()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/status")
		if err == nil && strings.HasPrefix(string(status), "Name:\tsleep") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not sleep: %v", err)
		}
	}
	if used, known := p.Memory(); !known || used <= 0 {
		t.Errorf("it takes %d bytes, %v", used, known)
	}
}
