package s3server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/s3server"
)

// capture returns what is written to stdout and stderr while run runs.
func capture(t *testing.T, run func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = w, w
	text := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r) // a closed pipe ends it
		text <- string(b)
	}()
	run()
	os.Stdout, os.Stderr = stdout, stderr
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return <-text
}

func start(t *testing.T, c s3server.Config) (*s3server.Server, *blob.Store) {
	t.Helper()
	server, err := s3server.Start(context.WithoutCancel(t.Context()), c)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	e := server.Endpoint()
	store, err := blob.Open(t.Context(), blob.Config{
		Endpoint: e.Addr, AccessKey: e.AccessKey, SecretKey: e.SecretKey, Region: e.Region, Bucket: "test",
	})
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	return server, store
}

func stop(t *testing.T, s *s3server.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestRestart shows for both kinds of metadata that objects outlive a server,
// and that neither a start nor a request nor a stop prints anything.
func TestRestart(t *testing.T) {
	for name, sidecar := range map[string]bool{"extended attributes": false, "sidecar files": true} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir()) // the server changes the working directory; this restores it
			c := s3server.Config{Dir: filepath.Join(t.TempDir(), "new"), Sidecar: sidecar}
			body := []byte("kept")
			printed := capture(t, func() {
				server, store := start(t, c)
				if err := store.Put(t.Context(), "a/b", body, blob.Digest(body)); err != nil {
					t.Errorf("put: %v", err)
				}
				stop(t, server)

				c.Sidecar = false // the folder remembers
				server, store = start(t, c)
				if got, err := store.Get(t.Context(), "a/b", blob.Digest(body), 100); err != nil || string(got) != "kept" {
					t.Errorf("get after restart: %q, error %v", got, err)
				}
				stop(t, server)
			})
			if printed != "" {
				t.Errorf("the server printed: %s", printed)
			}
		})
	}
}

// TestRemovedFolder removes the folder under a running server: what was stored is
// lost, what comes is stored, and all it says is in the log.
func TestRemovedFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := filepath.Join(t.TempDir(), "s3")
	var log bytes.Buffer
	printed := capture(t, func() {
		server, store := start(t, s3server.Config{Dir: dir, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
		defer stop(t, server)
		body := []byte("kept")
		if err := store.Put(t.Context(), "a", body, blob.Digest(body)); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
			err := store.Put(t.Context(), "b", body, blob.Digest(body))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("it does not come back: %v\n%s", err, log.String())
			}
		}
		if _, err := store.Get(t.Context(), "a", blob.Digest(body), 100); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("get what was lost: %v", err)
		}
	})
	if printed != "" {
		t.Errorf("the server printed: %s", printed)
	}
	if !strings.Contains(log.String(), "was removed") {
		t.Errorf("the log does not say so: %s", log.String())
	}
	for _, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		if !json.Valid([]byte(line)) || strings.Contains(line, "u001b") {
			t.Errorf("a line of the log: %s", line)
		}
	}
}

func TestOneAtATime(t *testing.T) {
	t.Chdir(t.TempDir())
	server, store := start(t, s3server.Config{Dir: t.TempDir()})
	defer stop(t, server)
	if _, err := s3server.Start(t.Context(), s3server.Config{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "one") {
		t.Errorf("a second server in the process: error %v", err)
	}
	if err := store.Check(t.Context()); err != nil {
		t.Errorf("the first server after that: %v", err)
	}
}

func TestWrongCredentials(t *testing.T) {
	t.Chdir(t.TempDir())
	server, _ := start(t, s3server.Config{Dir: t.TempDir(), AccessKey: "sluice", SecretKey: "right"})
	defer stop(t, server)
	_, err := blob.Open(t.Context(), blob.Config{
		Endpoint: server.Endpoint().Addr, AccessKey: "sluice", SecretKey: "wrong", Bucket: "test",
	})
	if err == nil {
		t.Error("a wrong secret key was accepted")
	}
}

func TestValidate(t *testing.T) {
	for why, c := range map[string]s3server.Config{
		"no folder":          {},
		"half a credential":  {Dir: "x", AccessKey: "a"},
		"an address of junk": {Dir: "x", Addr: "::::"},
	} {
		if _, err := s3server.Start(t.Context(), c); err == nil {
			t.Errorf("%s was accepted", why)
		}
	}
}
