// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// A stand-in for a practice at athenahealth, for this example: every few seconds an appointment is booked, moved or cancelled, and
// printed.
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

	"github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
)

var patients = []string{"Ada Example", "Ben Sample", "Cleo Test", "Dan Specimen", "Eva Pattern"}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve at")
	every := flag.Duration("every", 3*time.Second, "how often an appointment changes")
	events := flag.Int("events", 0, "how many changes there are; 0: without end")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	s := simulator.New(simulator.Options{ClientID: "rounds", Secret: "Rounds123"})
	for i, name := range patients {
		var first, last string
		_, _ = fmt.Sscan(name, &first, &last) // they are two words
		s.Set("patients", fmt.Sprint(100+i), map[string]any{"patientid": fmt.Sprint(100 + i), "firstname": first, "lastname": last,
			"dob": "01/31/1980", "sex": "F", "address1": "100 Main St", "city": "BOSTON", "state": "MA", "zip": "02210", "departmentid": "1"})
	}
	go change(s, *every, *events)
	log.Fatal(http.Serve(l, s))
}

// change books, moves and cancels appointments, once somebody is subscribed to hear of it.
func change(s *simulator.Server, every time.Duration, events int) {
	for s.Subscriptions() == 0 {
		time.Sleep(every / 3)
	}
	out := json.NewEncoder(os.Stdout)
	for n := 0; events == 0 || n < events; n++ {
		time.Sleep(every)
		id := fmt.Sprint(5000 + n/3)
		a := map[string]any{"patientid": fmt.Sprint(100 + n/3%len(patients)), "departmentid": "1", "providerid": "86", "duration": "15",
			"date": "03/02/2027", "starttime": "10:00", "appointmentstatus": "f", "patientappointmenttypename": "Office Visit"}
		switch n % 3 {
		case 1:
			a["starttime"] = "11:30"
		case 2:
			a["appointmentstatus"], a["cancelreasonname"] = "x", "PATIENT CANCELLED"
		}
		s.Set("appointments", id, a)
		if err := out.Encode(map[string]any{"appointment": id, "status": a["appointmentstatus"], "starttime": a["starttime"]}); err != nil {
			log.Fatal(err)
		}
	}
}
