// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"os"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/engine/script/worker"
)

// pretend is a worker that is none, or one that was taken over.
func pretend(arguments []string) {
	hello := worker.Hello
	switch arguments[0] {
	case "ends":
		os.Exit(3)
	case "grows":
		go worker.Watch(worker.Taken() + 64<<20)
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
			time.Sleep(time.Millisecond) // what it takes is looked at every 20 ms
			if len(all) > 1000 {
				return
			}
		}
	case "other":
		hello = "rounds worker 0"
	}
	worker.Pretend(os.Stdin, os.Stdout, hello, func(number uint64) []byte {
		at := script.Error{File: "map.js", Line: 7, Column: 3}
		rest := strings.TrimPrefix(arguments[len(arguments)-1], arguments[0]+" ")
		switch arguments[0] {
		case "hangs":
			if _, err := os.Stat(rest); err == nil {
				return worker.BodyFrame(number, `{"v":2}`)
			}
			_ = os.WriteFile(rest, nil, 0o600)
			time.Sleep(time.Hour) // it is killed before
		case "dies":
			os.Exit(9)
		case "body":
			return worker.BodyFrame(number, rest)
		case "deep":
			return worker.BodyFrame(number, `{"v":`+strings.Repeat("[", 600)+strings.Repeat("]", 600)+"}")
		case "large":
			return worker.BodyFrame(number, `{"v":"`+strings.Repeat("x", script.OutputLimit)+`"}`)
		case "unasked":
			return worker.BodyFrame(number+1, "{}")
		case "text":
			at.Text = rest
			return worker.ErrorFrame(number, at)
		case "place":
			return worker.ErrorFrame(number, script.Error{File: "Canary", Line: 1 << 30, Column: 5, Text: "is not a function"})
		}
		return []byte(strings.Repeat("\xff", 100)) // a frame of four gigabytes
	})
}
