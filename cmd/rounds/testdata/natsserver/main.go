// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Command natsserver is a server of NATS with JetStream for tests, in a process of its own so that it can be killed. Its arguments are
// a directory, a port, a user and a password.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	port, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: os.Args[1], NoLog: true,
		Username: os.Args[3], Password: os.Args[4]})
	if err != nil {
		panic(err)
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		panic("it does not start")
	}
	fmt.Println(s.ClientURL())
	s.WaitForShutdown()
}
