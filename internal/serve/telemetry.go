package serve

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Telemetry makes the spans of a process. Metrics need no part of it: what is
// registered with Prometheus is also sent over OTLP.
type Telemetry struct {
	// Tracers makes tracers. It records nothing unless an endpoint is set.
	Tracers trace.TracerProvider

	shutdown []func(context.Context) error
}

// StartTelemetry reads the standard environment of OpenTelemetry. With
// OTEL_EXPORTER_OTLP_ENDPOINT (or the one of a signal) it sends traces, and the
// metrics of the registry, over http/protobuf or grpc, as
// OTEL_EXPORTER_OTLP_PROTOCOL says; headers, certificates, sampling, intervals
// and resource attributes come from the other variables. Without an endpoint,
// or with OTEL_SDK_DISABLED=true, nothing is recorded or sent.
func StartTelemetry(ctx context.Context, service, version string, registry *prometheus.Registry) (*Telemetry, error) {
	t := &Telemetry{Tracers: noop.NewTracerProvider()}
	if os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return t, nil
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("describe service %s: %w", service, err)
	}
	if exports("TRACES") {
		if err := t.startTraces(ctx, described); err != nil {
			return nil, err
		}
	}
	if exports("METRICS") {
		if err := t.startMetrics(ctx, described, registry); err != nil {
			return nil, errors.Join(err, t.Shutdown(ctx))
		}
	}
	return t, nil
}

// Shutdown sends what is still held back.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var errs []error
	for _, stop := range t.shutdown {
		errs = append(errs, stop(ctx))
	}
	return RedactError(errors.Join(errs...))
}

func (t *Telemetry) startTraces(ctx context.Context, described *resource.Resource) error {
	var exporter sdktrace.SpanExporter
	protocol, err := protocolOf("TRACES")
	if err == nil && protocol == grpcProtocol {
		exporter, err = otlptracegrpc.New(ctx)
	} else if err == nil {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("start trace exporter: %w", RedactError(err))
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	t.Tracers = provider
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return nil
}

func (t *Telemetry) startMetrics(ctx context.Context, described *resource.Resource, registry *prometheus.Registry) error {
	var exporter metric.Exporter
	protocol, err := protocolOf("METRICS")
	if err == nil && protocol == grpcProtocol {
		exporter, err = otlpmetricgrpc.New(ctx)
	} else if err == nil {
		exporter, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		return fmt.Errorf("start metric exporter: %w", RedactError(err))
	}
	source := bridge.NewMetricProducer(bridge.WithGatherer(registry))
	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(source))
	provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(described))
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return nil
}

const grpcProtocol = "grpc"

// exports says whether a signal has an endpoint and is not turned off.
func exports(signal string) bool {
	if os.Getenv("OTEL_"+signal+"_EXPORTER") == "none" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// protocolOf returns the protocol for a signal; http/protobuf is the default
// of the specification.
func protocolOf(signal string) (string, error) {
	protocol := os.Getenv("OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL")
	if protocol == "" {
		protocol = os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "http/protobuf":
		return "http/protobuf", nil
	case grpcProtocol:
		return grpcProtocol, nil
	}
	return "", fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL %q is not one of http/protobuf, grpc", protocol)
}
