package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry returns a metrics registry with the collectors of the Go runtime
// and the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Readiness is a list of named checks. The zero value is ready. It is safe for
// concurrent use.
type Readiness struct {
	mu       sync.Mutex
	names    []string
	checks   []func(context.Context) error
	draining bool
}

// checkTime bounds each readiness check.
const checkTime = 3 * time.Second

var (
	errDraining = errors.New("the process is stopping")
	errStarting = errors.New("starting")
)

// Expect makes the process not ready until a check of that name is added.
func (r *Readiness) Expect(name string) {
	r.Add(name, func(context.Context) error { return errStarting })
}

// Waiting makes the process not ready, for a reason that it is told, until a check of that
// name is added. The first time, and when the reason changes, it is logged to the log of the service.
func (r *Readiness) Waiting(name string, log *slog.Logger) (tell func(why error)) {
	said := ""
	return func(why error) {
		r.Add(name, func(context.Context) error { return why })
		if text := why.Error(); text != said {
			said = text
			log.Warn("not ready", "error", text)
		}
	}
}

// Add adds a check, which returns why the process is not ready, or nil. It takes the
// place of an earlier one of that name.
func (r *Readiness) Add(name string, check func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.names, name); i >= 0 {
		r.checks = slices.Clone(r.checks) // Check may be reading it
		r.checks[i] = check
		return
	}
	r.names = append(r.names, name)
	r.checks = append(r.checks, check)
}

// Check runs all checks side by side and joins what they report, by name. A
// process that is stopping is not ready.
func (r *Readiness) Check(ctx context.Context) error {
	r.mu.Lock()
	names, checks, draining := r.names, r.checks, r.draining
	r.mu.Unlock()
	if draining {
		return errDraining
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	errs := make([]error, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() {
			if err := check(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", names[i], err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (r *Readiness) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
}

// handler serves /healthz (the process answers), /readyz (its checks pass),
// /metrics (Prometheus text) and /debug/pprof/ (Go profiles, on the metrics' port as
// Flux's controllers have them).
func handler(ready *Readiness, registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready.Check(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, Redact(err.Error()))
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // the client may be gone; there is nobody else to tell
}

// probeServer serves the handler until close.
type probeServer struct {
	server *http.Server
	done   chan error
}

func startProbes(l net.Listener, h http.Handler) *probeServer {
	p := &probeServer{
		server: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute},
		done:   make(chan error, 1),
	}
	go func() { p.done <- p.server.Serve(l) }()
	return p
}

// close ends the server; a nil server was never started.
func (p *probeServer) close(grace time.Duration) error {
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(grace, 2*time.Second))
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("stop probes: %w", errors.Join(err, p.server.Close()))
	}
	if err := <-p.done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve probes: %w", err)
	}
	return nil
}
