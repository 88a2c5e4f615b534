// SPDX-License-Identifier: Apache-2.0

// Package loopback serves NSM servers over gRPC within a test.
package loopback

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// Peer is a gRPC server on the loopback interface.
type Peer struct {
	URL *url.URL
	// Stop ends the server and with it all streams.
	Stop func()
}

// Serve serves both services; either may be nil. The server ends with the test.
func Serve(t testing.TB, connections networkservice.NetworkServiceServer, events networkservice.MonitorConnectionServer) *Peer {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	if connections != nil {
		networkservice.RegisterNetworkServiceServer(server, connections)
	}
	if events != nil {
		networkservice.RegisterMonitorConnectionServer(server, events)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	p := &Peer{
		URL: &url.URL{Scheme: "tcp", Host: listener.Addr().String()},
		Stop: sync.OnceFunc(func() {
			server.Stop()
			require.NoError(t, <-served)
		}),
	}
	t.Cleanup(p.Stop)
	return p
}

// Dial returns a connection to the peer that ends with the test.
func (p *Peer) Dial(t testing.TB) *grpc.ClientConn {
	cc, err := grpc.NewClient(p.URL.Host, Insecure())
	require.NoError(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// Insecure is the option to dial peers with.
func Insecure() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }
