package serve_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gitops/sluice/internal/serve"
)

// collector counts what arrives by path.
type collector struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[r.URL.Path]++
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func TestTelemetryReachesACollector(t *testing.T) {
	c := &collector{seen: map[string]int{}}
	server := httptest.NewServer(c)
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sluice_total", Help: "x"}, func() float64 { return 1 }))
	telemetry, err := serve.StartTelemetry(t.Context(), "fetcher", "v0", registry)
	if err != nil {
		t.Fatal(err)
	}
	_, span := telemetry.Tracers.Tracer("test").Start(t.Context(), "work")
	if !span.IsRecording() {
		t.Error("the span records nothing")
	}
	span.End()
	if err := telemetry.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/traces", "/v1/metrics"} {
		if c.seen[path] == 0 {
			t.Errorf("nothing arrived at %s, only %v", path, c.seen)
		}
	}
}

func TestTelemetryIsOff(t *testing.T) {
	for why, env := range map[string]map[string]string{
		"no endpoint":  {},
		"disabled":     {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		"no exporters": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
	} {
		t.Run(why, func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			telemetry, err := serve.StartTelemetry(t.Context(), "fetcher", "v0", prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			_, span := telemetry.Tracers.Tracer("test").Start(t.Context(), "work")
			if span.IsRecording() {
				t.Error("a span records")
			}
			if err := telemetry.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTelemetryRefusesAnUnknownProtocol(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	if _, err := serve.StartTelemetry(t.Context(), "fetcher", "v0", prometheus.NewRegistry()); err == nil {
		t.Error("http/json was accepted")
	}
}
