// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// A stand-in for an OpenMRS, for this example: it serves a feed of patients, of whom one is saved every few seconds, and prints each.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/rounds-engine/rounds/plugins/openmrs/simulator"
)

var names = []string{"Ada Example", "Ben Sample", "Cleo Test", "Dan Specimen", "Eva Pattern"}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve at")
	every := flag.Duration("every", 3*time.Second, "how often a patient is saved")
	events := flag.Int("events", 0, "how many are saved; 0: without end")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	s := simulator.New(simulator.Options{Username: "rounds", Password: "Rounds123"})
	go save(s, *every, *events)
	log.Fatal(http.Serve(l, s))
}

// save moves one patient after the other to another house.
func save(s *simulator.Server, every time.Duration, events int) {
	out := json.NewEncoder(os.Stdout)
	for n := 0; events == 0 || n < events; n++ {
		i := n % len(names)
		uuid, address := fmt.Sprintf("5946f880-b197-400b-9caa-%012d", i), fmt.Sprint("House ", n)
		s.Save("patient", uuid, map[string]any{"display": fmt.Sprintf("10000%d - %s", i, names[i]), "voided": false,
			"person": map[string]any{"display": names[i], "preferredAddress": map[string]any{"address1": address}}})
		if err := out.Encode(map[string]string{"saved": uuid, "address": address}); err != nil {
			log.Fatal(err)
		}
		time.Sleep(every)
	}
}
