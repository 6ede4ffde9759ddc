package main

import (
	"io"
	"net"
)

// copyAll copies until either side ends; how it ended is the business of both ends.
func copyAll(to, from net.Conn) { _, _ = io.Copy(to, from) }
