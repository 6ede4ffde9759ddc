// Package natsserver embeds a NATS server with JetStream on disk, for the
// one-process form of Sluice and for tests.
package natsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Config configures a server.
type Config struct {
	// StoreDir is where JetStream keeps its files. Required.
	StoreDir string
	// Host to listen on; 127.0.0.1 when empty.
	Host string
	// Port to listen on; -1 for any free one. The default, 0, does not listen at
	// all: only InProcessConn leads to the server.
	Port int
	// ConfigText is a server configuration, such as that of deploy/nats, which may
	// name variables of the process's environment. Host, Port and StoreDir replace
	// what it says. A server without one has no users.
	ConfigText string
	// StartTimeout is how long the server may take to start, recovery of its files
	// included; 30 seconds when zero.
	StartTimeout time.Duration
	// Logger is slog's default when nil. What NATS calls information is logged as debug.
	Logger *slog.Logger
}

// Server is a running NATS server.
type Server struct {
	ns *server.Server
}

// Start starts a server. It runs until Stop, or until ctx ends.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure NATS server: %w", err)
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.Default()
	}
	ns.SetLoggerV2(&quietLogger{logger.With("component", "nats")}, false, false, false)
	ns.Start()
	timeout := cfg.StartTimeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	s := &Server{ns: ns}
	if !ns.ReadyForConnections(timeout) || !ns.JetStreamEnabled() {
		s.Stop()
		return nil, fmt.Errorf("start NATS server in %s: not ready after %s", cfg.StoreDir, timeout)
	}
	context.AfterFunc(ctx, s.Stop)
	return s, nil
}

func (c Config) options() (*server.Options, error) {
	if c.StoreDir == "" {
		return nil, errors.New("configure NATS server: a storage folder is missing")
	}
	opts := &server.Options{ServerName: "sluice"}
	if c.ConfigText != "" {
		if err := opts.ProcessConfigString(c.ConfigText); err != nil {
			return nil, fmt.Errorf("parse NATS configuration: %w", err)
		}
	}
	opts.Host = c.Host
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	opts.Port, opts.HTTPPort = c.Port, 0
	opts.DontListen = c.Port == 0
	opts.JetStream, opts.StoreDir = true, c.StoreDir
	opts.NoSigs, opts.NoLog = true, true
	return opts, nil
}

// Stop closes the server and its files. It may be called more than once.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

// URL returns the address to connect to, empty when the server does not listen.
func (s *Server) URL() string {
	addr, ok := s.ns.Addr().(*net.TCPAddr)
	if !ok || addr == nil {
		return ""
	}
	return "nats://" + net.JoinHostPort(addr.IP.String(), strconv.Itoa(addr.Port))
}

// InProcessConn implements nats.InProcessConnProvider: a connection without a socket.
func (s *Server) InProcessConn() (net.Conn, error) {
	return s.ns.InProcessConn()
}
