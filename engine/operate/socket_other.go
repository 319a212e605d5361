// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package operate

import (
	"fmt"
	"net"
	"path/filepath"
)

func socketPath(dir string) (path string, release func(), err error) {
	if path = filepath.Join(dir, SocketName); len(path) > maxSocketPath {
		return "", nil, fmt.Errorf("the path of the state, %s, is too long for an admin socket in it", dir)
	}
	return path, func() {}, nil
}

func peer(net.Conn) string { return "" }
