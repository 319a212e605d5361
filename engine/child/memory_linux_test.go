// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package child_test

import (
	"testing"

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
