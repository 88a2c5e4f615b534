// SPDX-License-Identifier: Apache-2.0

package opentelemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// InitSpanExporter returns an exporter of spans to the collector at
// exporterURL (host:port, OTLP over plain gRPC), or nil if that fails.
func InitSpanExporter(ctx context.Context, exporterURL string) trace.SpanExporter {
	exporter, err := otlptracegrpc.New(ctx,
		otlptracegrpc.WithEndpoint(exporterURL), otlptracegrpc.WithInsecure())
	if err != nil {
		log.FromContext(ctx).Errorf("opentelemetry: span exporter to %s: %v", exporterURL, err)
		return nil
	}
	return exporter
}

// InitOPTLMetricExporter returns a reader that sends metrics to the collector
// at exporterURL every exportInterval, or nil if that fails.
func InitOPTLMetricExporter(ctx context.Context, exporterURL string, exportInterval time.Duration) sdkmetric.Reader {
	exporter, err := otlpmetricgrpc.New(ctx,
		otlpmetricgrpc.WithEndpoint(exporterURL), otlpmetricgrpc.WithInsecure())
	if err != nil {
		log.FromContext(ctx).Errorf("opentelemetry: metric exporter to %s: %v", exporterURL, err)
		return nil
	}
	return sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithInterval(exportInterval))
}

// InitPrometheusMetricExporter returns a reader that shows metrics in
// Prometheus' default registry, or nil if that fails.
func InitPrometheusMetricExporter(ctx context.Context) sdkmetric.Reader {
	exporter, err := prometheus.New()
	if err != nil {
		log.FromContext(ctx).Errorf("opentelemetry: prometheus exporter: %v", err)
		return nil
	}
	return exporter
}
