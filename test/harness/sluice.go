package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Config says how sluice run is started. Binary and Kubeconfig are required.
type Config struct {
	Binary     string
	Kubeconfig string
	// Namespace for Sluice's own objects; sluice-system when empty.
	Namespace string
	// Dir holds its data and log; a temporary folder, removed by Stop, when empty.
	Dir string
	// Args are further flags, Env further environment.
	Args, Env []string
}

// Sluice is a running sluice process, all four services in one.
type Sluice struct {
	*Process
	// NATS is the address of the embedded server; the others are base addresses
	// of HTTP listeners.
	NATS, Webhook, Artifacts, Health string

	cfg    Config
	dir    string
	remove bool
	args   []string
}

// Start runs sluice and waits until it is ready.
func Start(ctx context.Context, cfg Config) (*Sluice, error) {
	s := &Sluice{cfg: cfg, dir: cfg.Dir}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "sluice-")
		if err != nil {
			return nil, fmt.Errorf("start sluice: %w", err)
		}
		s.dir, s.remove = dir, true
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("start sluice: %w", err)
	}
	var ports [4]int
	for i := range ports {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	address := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	s.NATS = "nats://" + address(0)
	s.Webhook, s.Artifacts, s.Health = "http://"+address(1), "http://"+address(2), "http://"+address(3)
	namespace := cfg.Namespace
	if namespace == "" {
		namespace = "sluice-system"
	}
	s.args = append([]string{
		"run", "--kubeconfig", cfg.Kubeconfig, "--data-dir", s.Data(),
		"--runtime-namespace", namespace, "--nats-addr", address(0), "--webhook-addr", address(1),
		"--artifact-addr", address(2), "--artifact-adv-addr", address(2), "--probe-addr", address(3),
	}, cfg.Args...)
	if err := s.Restart(ctx); err != nil {
		return nil, errors.Join(err, s.clean())
	}
	return s, nil
}

// Restart starts the process again, on the same data and addresses, after Kill or Stop.
func (s *Sluice) Restart(ctx context.Context) error {
	p, err := StartProcess("sluice", s.cfg.Binary, s.Log(), s.cfg.Env, s.args...)
	if err != nil {
		return err
	}
	s.Process = p
	if err := p.WaitReady(ctx, s.Health+"/readyz"); err != nil {
		p.Kill()
		return err
	}
	return nil
}

// Data returns the data folder.
func (s *Sluice) Data() string { return filepath.Join(s.dir, "data") }

// Log returns the path of the log file.
func (s *Sluice) Log() string { return filepath.Join(s.dir, "sluice.log") }

// Close ends the process gracefully and removes its folder if Start made it.
func (s *Sluice) Close() error {
	return errors.Join(s.Stop(20*time.Second), s.clean())
}

func (s *Sluice) clean() error {
	if !s.remove {
		return nil
	}
	return os.RemoveAll(s.dir)
}
