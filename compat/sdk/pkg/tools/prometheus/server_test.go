// SPDX-License-Identifier: Apache-2.0

package prometheus_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/sdk/pkg/internal/svidtest"
	"github.com/networkservicemesh/sdk/pkg/tools/prometheus"
)

const patience = 10 * time.Second

// freeAddress returns an address of the loopback interface that was free.
func freeAddress(t *testing.T) (address string, occupied net.Listener) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener.Addr().String(), listener
}

func get(client *http.Client, url string) (string, error) {
	reply, err := client.Get(url) //nolint:noctx // a test
	if err != nil {
		return "", err
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(reply.Body)
	return string(body), err
}

// run serves until the test ends.
func run(t *testing.T, server *prometheus.Server) (failed <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	broken, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		server.ListenAndServe(ctx, func() { close(broken) })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return broken
}

func TestMetricsAreServedOnceTheAddressIsFree(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	address, occupied := freeAddress(t)
	failed := run(t, prometheus.NewServer(address))
	require.NoError(t, occupied.Close())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	require.Eventually(t, func() bool {
		body, err := get(client, "http://"+address+"/metrics")
		return err == nil && len(body) > 0
	}, patience, 10*time.Millisecond)
	require.Empty(t, failed)
}

func TestAnAddressThatStaysOccupied(t *testing.T) {
	address, occupied := freeAddress(t)
	defer func() { _ = occupied.Close() }()
	<-run(t, prometheus.NewServer(address, prometheus.WithMaxBindThreshold(0)))
}

func TestAChangedCertificateIsTakenIntoUse(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca := svidtest.New(t)
	write := func(name string, modified time.Time) {
		svid := ca.Issue(name, time.Hour)
		key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
		require.NoError(t, err)
		for file, block := range map[string]*pem.Block{
			certFile: {Type: "CERTIFICATE", Bytes: svid.Certificates[0].Raw}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
		} {
			require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
			require.NoError(t, os.Chtimes(file, modified, modified))
		}
	}
	write("old", time.Now().Add(-time.Hour))
	address, occupied := freeAddress(t)
	require.NoError(t, occupied.Close())
	run(t, prometheus.NewServer(address, prometheus.WithCustomCert(certFile, keyFile), prometheus.WithCertificateMonitoring(true)))

	served := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", address) //nolint:gosec // a test
		if err != nil {
			return ""
		}
		defer func() { _ = conn.Close() }()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].URIs[0].Path
	}
	require.Eventually(t, func() bool { return served() == "/old" }, patience, 10*time.Millisecond)
	write("new", time.Now())
	require.Eventually(t, func() bool { return served() == "/new" }, patience, 10*time.Millisecond)

	require.NoError(t, os.WriteFile(keyFile, []byte("half written"), 0o600))
	require.Equal(t, "/new", served())
}

func TestBrokenCertificates(t *testing.T) {
	address, occupied := freeAddress(t)
	require.NoError(t, occupied.Close())
	<-run(t, prometheus.NewServer(address, prometheus.WithCustomCert("/no/cert", "/no/key")))
}

func TestIsEnabled(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "1": true, "false": false, "": false, "yes": false} {
		t.Setenv("PROMETHEUS", value)
		require.Equal(t, want, prometheus.IsEnabled(), value)
	}
}
