// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/opentelemetry"
	"github.com/networkservicemesh/sdk/pkg/tools/spiffejwt"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// Identity is who this process is: an X.509-SVID that the Workload API at
// SPIFFE_ENDPOINT_SOCKET keeps fresh.
type Identity struct {
	// Source has the current SVID and the bundles of those to trust.
	Source *workloadapi.X509Source
	// Tokens makes the tokens that go along with requests.
	Tokens token.GeneratorFunc

	id spiffeid.ID
	// connectionAge limits the age of connections to this process.
	connectionAge time.Duration
}

const (
	// connectionsPerSVID is how many connections follow one another in the life of an
	// SVID, within the bounds of their age.
	connectionsPerSVID = 60
	minConnectionAge   = 500 * time.Millisecond
	// maxConnectionAge is below the 20 s between the refresh of a registration and its
	// end: a refresh that is denied gets through with the next connection.
	maxConnectionAge = 15 * time.Second
	// readBuffer of a gRPC connection, in bytes. Each connection of the mesh has gRPC
	// connections of its own in every hop, which rest nearly all of the time.
	readBuffer = 4 << 10
)

// NewIdentity waits until the Workload API has given out an SVID. Tokens live for
// maxTokenLifetime at most. The caller closes the identity.
func NewIdentity(ctx context.Context, maxTokenLifetime time.Duration) (*Identity, error) {
	if os.Getenv(workloadapi.SocketEnv) == "" {
		return nil, fmt.Errorf("get an SVID: %s is not set; it names the socket of the SPIFFE agent, such as unix:///run/spire/sockets/agent.sock", workloadapi.SocketEnv)
	}
	return NewIdentityFrom(ctx, os.Getenv(workloadapi.SocketEnv), maxTokenLifetime)
}

// NewIdentityFrom is NewIdentity with the URL of the Workload API's socket.
func NewIdentityFrom(ctx context.Context, socket string, maxTokenLifetime time.Duration) (*Identity, error) {
	waiting := time.AfterFunc(3*time.Second, func() {
		log.FromContext(ctx).Warnf("still waiting for an SVID from %s", socket)
	})
	defer waiting.Stop()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(socket)))
	if err != nil {
		return nil, fmt.Errorf("get an SVID from %s: %w", socket, err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		_ = source.Close()
		return nil, fmt.Errorf("get an SVID: %w", err)
	}
	log.FromContext(ctx).Infof("SVID: %q", svid.ID)
	return &Identity{
		Source:        source,
		Tokens:        spiffejwt.TokenGeneratorFunc(source, maxTokenLifetime),
		id:            svid.ID,
		connectionAge: min(max(time.Until(svid.Certificates[0].NotAfter)/connectionsPerSVID, minConnectionAge), maxConnectionAge),
	}, nil
}

// ID is the SPIFFE ID at the time of NewIdentity.
func (i *Identity) ID() spiffeid.ID { return i.id }

// Close stops renewing the SVID.
func (i *Identity) Close() error { return i.Source.Close() }

// ServerCredentials are for mutual TLS with any member of a trusted domain, over
// connections that carry file descriptors.
func (i *Identity) ServerCredentials() credentials.TransportCredentials {
	config := tlsconfig.MTLSServerConfig(i.Source, i.Source, tlsconfig.AuthorizeAny())
	config.MinVersion = tls.VersionTLS12
	return grpcfd.TransportCredentials(credentials.NewTLS(config))
}

// ClientCredentials are the same for the side that dials.
func (i *Identity) ClientCredentials() credentials.TransportCredentials {
	config := tlsconfig.MTLSClientConfig(i.Source, i.Source, tlsconfig.AuthorizeAny())
	config.MinVersion = tls.VersionTLS12
	return grpcfd.TransportCredentials(credentials.NewTLS(config))
}

// ServerOptions are for a gRPC server of this process.
//
// The policies of the mesh check a token's signature with the certificate that its maker
// showed when the connection was made. After either end has got a new SVID, tokens and
// certificates match again only once that connection is replaced. So no connection gets
// old, whether its client knows of this or not; streams on it go on until they end.
func (i *Identity) ServerOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.Creds(i.ServerCredentials()),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: i.connectionAge}),
		grpc.ReadBufferSize(readBuffer),
	}
	if opentelemetry.IsEnabled() {
		options = append(options, grpc.StatsHandler(otelgrpc.NewServerHandler()))
	}
	return options
}

// DialOptions are for calls of this process: its credentials, a fresh token with each
// call, and file descriptors. Calls to a peer that is gone fail at once, which is what
// healing needs; grpc.WaitForReady changes that for a call.
func (i *Identity) DialOptions() []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(i.ClientCredentials()),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithDefaultCallOptions(grpc.PerRPCCredentials(token.NewPerRPCCredentials(i.Tokens))),
		grpcfd.WithChainUnaryInterceptor(),
		grpcfd.WithChainStreamInterceptor(),
	}
	if opentelemetry.IsEnabled() {
		options = append(options, grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
	}
	return options
}
