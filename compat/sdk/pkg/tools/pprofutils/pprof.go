// SPDX-License-Identifier: Apache-2.0

// Package pprofutils serves the profiles of the process over HTTP.
package pprofutils

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// headerTimeout bounds how long a client may take to send its request's head.
const headerTimeout = 5 * time.Second

// ListenAndServe serves /debug/pprof/ at listenOn (host:port) until ctx ends. It
// returns then, or when it cannot serve, which it logs.
func ListenAndServe(ctx context.Context, listenOn string) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Addr: listenOn, Handler: mux, ReadHeaderTimeout: headerTimeout}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.FromContext(ctx).Errorf("pprof: serve %s: %v", listenOn, err)
	}
}
