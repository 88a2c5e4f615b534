// SPDX-License-Identifier: Apache-2.0

// Package opentelemetry sets the process up to export spans and metrics.
package opentelemetry

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

const telemetryEnv = "TELEMETRY"

// IsEnabled says whether the environment variable TELEMETRY is a true boolean.
func IsEnabled() bool {
	enabled, err := strconv.ParseBool(os.Getenv(telemetryEnv))
	return err == nil && enabled
}

// Init makes the exporter and the reader those of the process. A nil
// spanExporter or metricReader leaves that half off. Closing the result sends
// what is pending. When OpenTelemetry is not enabled nothing is set up.
func Init(ctx context.Context, spanExporter sdktrace.SpanExporter, metricReader sdkmetric.Reader, service string) io.Closer {
	p := &providers{ctx: context.WithoutCancel(ctx)}
	if !IsEnabled() {
		return p
	}
	res, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", service)))
	if err != nil {
		log.FromContext(ctx).Errorf("opentelemetry: describe service %s: %v", service, err)
		return p
	}
	if spanExporter != nil {
		p.traces = sdktrace.NewTracerProvider(
			sdktrace.WithSampler(sdktrace.AlwaysSample()),
			sdktrace.WithResource(res),
			sdktrace.WithBatcher(spanExporter))
		otel.SetTracerProvider(p.traces)
		otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(
			propagation.TraceContext{}, propagation.Baggage{}))
	}
	if metricReader != nil {
		p.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(metricReader), sdkmetric.WithResource(res))
		otel.SetMeterProvider(p.metrics)
	}
	return p
}

type providers struct {
	ctx     context.Context
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
}

// Close works after the end of the context that Init got: it is then that the
// last spans are sent.
func (p *providers) Close() error {
	var err error
	if p.traces != nil {
		err = errors.Join(err, p.traces.Shutdown(p.ctx))
	}
	if p.metrics != nil {
		err = errors.Join(err, p.metrics.Shutdown(p.ctx))
	}
	return err
}
