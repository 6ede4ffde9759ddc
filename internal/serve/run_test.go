package serve_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gitops/sluice/internal/serve"
)

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return resp.StatusCode, string(body)
}

// untilEnd returns a component that runs until its context ends, and a channel
// that is closed when it runs.
func untilEnd(name string) (serve.Component, <-chan struct{}) {
	started := make(chan struct{})
	return serve.Component{Name: name, Run: func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}}, started
}

// TestSignalDrains walks through a life: probes answer, SIGTERM withdraws
// readiness while a component still finishes, closers run last.
func TestSignalDrains(t *testing.T) {
	addr := freeAddr(t)
	base := "http://" + addr
	registry, ready := prometheus.NewRegistry(), &serve.Readiness{}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_test", Help: "x"}, func() float64 { return 7 }))
	var healthy atomic.Bool
	ready.Add("bus", func(context.Context) error {
		if healthy.Load() {
			return nil
		}
		return errors.New("cannot reach https://user:hunter2@host")
	})

	var order []string
	started, draining, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	worker := serve.Component{Name: "worker", Run: func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		close(draining)
		<-finish
		order = append(order, "worker")
		return nil
	}}
	done := make(chan error, 1)
	go func() {
		done <- serve.Run(t.Context(), serve.Config{
			Addr: addr, Registry: registry, Ready: ready,
			Close: []func(context.Context) error{
				func(context.Context) error { order = append(order, "bucket"); return nil },
				func(context.Context) error { order = append(order, "bus"); return nil },
			},
		}, worker)
	}()
	<-started
	if status, body := get(t, base+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", status, body)
	}
	if status, body := get(t, base+"/readyz"); status != 503 || !strings.Contains(body, "bus: cannot reach") || strings.Contains(body, "hunter2") {
		t.Errorf("readyz with a fault: %d %q", status, body)
	}
	healthy.Store(true)
	if status, _ := get(t, base+"/readyz"); status != 200 {
		t.Errorf("readyz: %d", status)
	}
	if _, body := get(t, base+"/metrics"); !strings.Contains(body, "sluice_test 7") {
		t.Errorf("metrics: %q", body)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-draining
	if status, _ := get(t, base+"/readyz"); status != 503 {
		t.Errorf("readyz while stopping: %d", status)
	}
	if status, _ := get(t, base+"/healthz"); status != 200 {
		t.Errorf("healthz while stopping: %d", status)
	}
	close(finish)
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if got := strings.Join(order, ","); got != "worker,bus,bucket" {
		t.Errorf("ended in the order %s", got)
	}
}

func TestFailureEndsTheOthers(t *testing.T) {
	other, started := untilEnd("other")
	broken := errors.New("broken")
	err := serve.Run(t.Context(), serve.Config{}, other, serve.Component{Name: "bad", Run: func(context.Context) error {
		<-started
		return broken
	}})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "bad") {
		t.Errorf("error %v does not name the component and its fault", err)
	}
}

func TestGraceEnds(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	stuck := serve.Component{Name: "stuck", Run: func(context.Context) error { <-release; return nil }}
	broken := errors.New("broken")
	bad := serve.Component{Name: "bad", Run: func(context.Context) error { return broken }}
	err := serve.Run(t.Context(), serve.Config{Grace: 20 * time.Millisecond}, stuck, bad)
	if !errors.Is(err, serve.ErrDrain) || !errors.Is(err, broken) || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("error %v does not name what was left behind and why", err)
	}
}

func TestParentContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, started := untilEnd("c")
	go func() { <-started; cancel() }()
	if err := serve.Run(ctx, serve.Config{}, c); err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestAllReturn(t *testing.T) {
	if err := serve.Run(t.Context(), serve.Config{}, serve.Component{Name: "once", Run: func(context.Context) error { return nil }}); err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := serve.Run(t.Context(), serve.Config{Addr: l.Addr().String()}); err == nil {
		t.Error("an address in use is no error")
	}
}
