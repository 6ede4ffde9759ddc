package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	deploynats "github.com/sluice-gitops/sluice/deploy/nats"
	"github.com/sluice-gitops/sluice/internal/natsserver"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// natsUsers are the users of deploy/nats/nats.conf.
var natsUsers = [...]string{"fetcher", "builder", "applier", "webhook", "audit", "admin"}

// ground is what the services stand on when one process brings everything itself.
type ground struct {
	nats          *natsserver.Server
	s3            *s3server.Server
	adminPassword string
}

// startGround starts the embedded NATS and S3 servers on the data folder.
func startGround(ctx context.Context, s settings, log *slog.Logger) (*ground, error) {
	passwords, err := loadPasswords(filepath.Join(s.DataDir, "nats-users"))
	if err != nil {
		return nil, err
	}
	host, port, err := splitAddr(s.NATSAddr)
	if err != nil {
		return nil, err
	}
	if err := exportNATS(filepath.Join(s.DataDir, "nats"), passwords); err != nil {
		return nil, err
	}
	g := &ground{adminPassword: passwords["admin"]}
	g.nats, err = natsserver.Start(ctx, natsserver.Config{
		StoreDir: filepath.Join(s.DataDir, "nats"), Host: host, Port: port,
		ConfigText: deploynats.ServerConfig(), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	g.s3, err = s3server.Start(ctx, s3server.Config{Dir: filepath.Join(s.DataDir, "s3"), Addr: s.S3Addr, Logger: log})
	if err != nil {
		g.nats.Stop()
		return nil, err
	}
	return g, nil
}

// bucket says how to reach the embedded S3 server.
func (g *ground) bucket(name string) serve.S3 {
	e := g.s3.Endpoint()
	return serve.S3{Endpoint: e.Addr, Bucket: name, AccessKey: e.AccessKey, SecretKey: e.SecretKey, Region: e.Region}
}

func (g *ground) stop(ctx context.Context) error {
	err := g.s3.Stop(ctx)
	g.nats.Stop()
	return err
}

// exportNATS gives the server configuration the variables it names.
func exportNATS(dir string, passwords map[string]string) error {
	errs := []error{os.Setenv("NATS_STORE_DIR", strconv.Quote(dir))}
	for user, password := range passwords {
		errs = append(errs, os.Setenv("NATS_"+strings.ToUpper(user)+"_PASSWORD", password))
	}
	return errors.Join(errs...)
}

// loadPasswords reads the NATS users' passwords, one file a user that only its
// owner can read, and makes the missing ones.
func loadPasswords(dir string) (map[string]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of NATS users: %w", err)
	}
	passwords := make(map[string]string, len(natsUsers))
	for _, user := range natsUsers {
		path := filepath.Join(dir, user)
		body, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			// the letter keeps the configuration from reading it as a number
			body = []byte("p" + rand.Text())
			err = os.WriteFile(path, body, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("load password of NATS user %s: %w", user, err)
		}
		if len(body) == 0 {
			return nil, fmt.Errorf("load password of NATS user %s: %s is empty; remove it to get a new one", user, path)
		}
		passwords[user] = string(body)
	}
	return passwords, nil
}

func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("nats-addr: %w", err)
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return "", 0, fmt.Errorf("nats-addr %q: the port is not a number", addr)
	}
	return host, port, nil
}
