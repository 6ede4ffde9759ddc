// Package nats holds what a NATS server needs to carry Sluice: the stream
// definitions that the services create and verify, and a server configuration
// with one user per service. It is data only, so that operators, services and
// tests read the same files.
package nats

import _ "embed"

//go:embed streams.json
var streams []byte

//go:embed nats.conf
var serverConfig string

// Streams returns the stream definitions, a JSON array in the notation of the
// JetStream API, durations in nanoseconds.
func Streams() []byte { return append([]byte(nil), streams...) }

// ServerConfig returns the configuration of a single NATS server for Sluice.
// It takes the storage folder and the users' passwords from the environment.
func ServerConfig() string { return serverConfig }
