// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/opentelemetry"
)

// Telemetry is the part of a configuration that is about looking into the process.
// Embed it in the struct for Load.
type Telemetry struct {
	OpenTelemetryEndpoint string        `default:"otel-collector.observability.svc.cluster.local:4317" desc:"OpenTelemetry collector, used if TELEMETRY is set" split_words:"true"`
	MetricsExportInterval time.Duration `default:"10s" desc:"how often metrics go to the collector" split_words:"true"`
	PprofEnabled          bool          `default:"false" desc:"whether to serve profiles" split_words:"true"`
	PprofListenOn         string        `default:"localhost:6060" desc:"address to serve profiles on" split_words:"true"`
}

// Start begins to export traces and metrics (if the variable TELEMETRY is true) and to
// serve profiles (if PprofEnabled), under the name of the process. The returned
// function ends both and sends what is pending.
func (t *Telemetry) Start(ctx context.Context, name string) (stop func(), err error) {
	var stops []func()
	if t.PprofEnabled {
		stopProfiles, err := serveProfiles(ctx, t.PprofListenOn)
		if err != nil {
			return nil, err
		}
		stops = append(stops, stopProfiles)
	}
	if opentelemetry.IsEnabled() {
		exporter := opentelemetry.Init(ctx,
			opentelemetry.InitSpanExporter(ctx, t.OpenTelemetryEndpoint),
			opentelemetry.InitOPTLMetricExporter(ctx, t.OpenTelemetryEndpoint, t.MetricsExportInterval),
			name)
		stops = append(stops, func() {
			if err := exporter.Close(); err != nil {
				log.FromContext(ctx).Errorf("end telemetry: %v", err)
			}
		})
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}, nil
}

func serveProfiles(ctx context.Context, address string) (stop func(), err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve profiles (NSM_PPROF_LISTEN_ON): %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.FromContext(ctx).Errorf("serve profiles: %v", err)
		}
	}()
	log.FromContext(ctx).Infof("profiles are at http://%s/debug/pprof/", listener.Addr())
	return func() {
		_ = server.Close()
		<-done
	}, nil
}
