// SPDX-License-Identifier: Apache-2.0

// Package prometheus serves the metrics of the process over HTTP or HTTPS.
package prometheus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

const (
	enableEnv      = "PROMETHEUS"
	firstBindRetry = 100 * time.Millisecond
)

// IsEnabled says whether the environment variable PROMETHEUS is a true boolean.
func IsEnabled() bool {
	enabled, err := strconv.ParseBool(os.Getenv(enableEnv))
	return err == nil && enabled
}

// Server serves Prometheus' default registry at /metrics.
type Server struct {
	listenOn         string
	certFile         string
	keyFile          string
	caFile           string
	monitorCert      bool
	headerTimeout    time.Duration
	maxBindThreshold time.Duration
}

// Option configures NewServer.
type Option func(s *Server)

// WithCustomCert has the server speak TLS with that certificate.
func WithCustomCert(certFile, keyFile string) Option {
	return func(s *Server) { s.certFile, s.keyFile = certFile, keyFile }
}

// WithCustomCA has the server ask clients for a certificate of that CA.
func WithCustomCA(caFile string) Option { return func(s *Server) { s.caFile = caFile } }

// WithHeaderTimeout bounds how long a client may take to send its request's
// head: 5 s unless set.
func WithHeaderTimeout(headerTimeout time.Duration) Option {
	return func(s *Server) { s.headerTimeout = headerTimeout }
}

// WithCertificateMonitoring has changed certificate files taken into use while
// the server runs.
func WithCertificateMonitoring(monitorCert bool) Option {
	return func(s *Server) { s.monitorCert = monitorCert }
}

// WithMaxBindThreshold sets for how long to try again when the address is in
// use: 120 s unless set.
func WithMaxBindThreshold(maxBindThreshold time.Duration) Option {
	return func(s *Server) { s.maxBindThreshold = maxBindThreshold }
}

// NewServer returns a server for listenOn (host:port).
func NewServer(listenOn string, options ...Option) *Server {
	s := &Server{listenOn: listenOn, headerTimeout: 5 * time.Second, maxBindThreshold: 120 * time.Second}
	for _, option := range options {
		option(s)
	}
	return s
}

// ListenAndServe serves until ctx ends. If it cannot, it logs why, calls cancel
// and returns.
func (s *Server) ListenAndServe(ctx context.Context, cancel context.CancelFunc) {
	if err := s.serve(ctx); err != nil {
		log.FromContext(ctx).Errorf("prometheus: serve %s: %v", s.listenOn, err)
		cancel()
	}
}

func (s *Server) serve(ctx context.Context) error {
	config, err := s.tlsConfig()
	if err != nil {
		return err
	}
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: s.headerTimeout, TLSConfig: config}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if config != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen waits, for a while, for a predecessor to let go of the address.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	c := clock.FromContext(ctx)
	giveUp := c.Now().Add(s.maxBindThreshold)
	var config net.ListenConfig
	for wait := firstBindRetry; ; wait *= 2 {
		listener, err := config.Listen(ctx, "tcp", s.listenOn)
		if err == nil {
			return listener, nil
		}
		if c.Until(giveUp) < wait {
			return nil, err
		}
		log.FromContext(ctx).Warnf("prometheus: %v, next try in %v", err, wait)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.After(wait):
		}
	}
}

// tlsConfig is nil without a certificate.
func (s *Server) tlsConfig() (*tls.Config, error) {
	if s.certFile == "" || s.keyFile == "" {
		return nil, nil
	}
	files := &keyPair{certFile: s.certFile, keyFile: s.keyFile, watch: s.monitorCert}
	if _, err := files.get(nil); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA: %s has no certificate", s.caFile)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
