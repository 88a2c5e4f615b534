// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Workload is a socket at which one identity is given out.
type Workload struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	authority *Authority
	id        spiffeid.ID
	path      string
	server    *grpc.Server
	serving   sync.WaitGroup
}

// Listen serves the Workload API at a unix socket. Whoever opens it is the workload at
// path in the authority's trust domain, "/ns/default/pod/nsc" for instance: a socket
// for each workload tells them apart whatever namespaces they are in. What is left of
// an earlier socket at socketPath is replaced.
func (a *Authority) Listen(socketPath, path string) (*Workload, error) {
	id, err := spiffeid.FromPath(a.domain, path)
	if err != nil {
		return nil, fmt.Errorf("serve Workload API: SPIFFE path %q: %w", path, err)
	}
	if err = os.Remove(socketPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("serve Workload API: %w", err)
	}
	listener, err := net.Listen("unix", socketPath)
	if err != nil {
		return nil, fmt.Errorf("serve Workload API: %w", err)
	}
	absolute, err := filepath.Abs(socketPath)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("serve Workload API: %w", err)
	}
	w := &Workload{authority: a, id: id, path: absolute, server: grpc.NewServer()}
	workload.RegisterSpiffeWorkloadAPIServer(w.server, w)

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		_ = listener.Close()
		return nil, fmt.Errorf("serve Workload API: %w", net.ErrClosed)
	}
	a.workloads[w] = struct{}{}
	w.serving.Go(func() { _ = w.server.Serve(listener) })
	return w, nil
}

// ID that the workload gets.
func (w *Workload) ID() spiffeid.ID { return w.id }

// URL is the value for SPIFFE_ENDPOINT_SOCKET.
func (w *Workload) URL() string { return "unix://" + w.path }

// Close ends the streams of the workload and removes the socket.
func (w *Workload) Close() {
	w.authority.mu.Lock()
	delete(w.authority.workloads, w)
	w.authority.mu.Unlock()
	w.stop()
}

func (w *Workload) stop() {
	w.server.Stop()
	w.serving.Wait()
}

// FetchX509SVID sends an SVID, and another one whenever half of its life is over.
func (w *Workload) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if err := checkHeader(stream); err != nil {
		return err
	}
	for {
		svid, err := w.authority.issue(w.id)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		key, err := x509.MarshalPKCS8PrivateKey(svid.key)
		if err != nil {
			return status.Errorf(codes.Internal, "encode key of SVID: %v", err)
		}
		err = stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
			SpiffeId:    w.id.String(),
			X509Svid:    svid.cert.Raw,
			X509SvidKey: key,
			Bundle:      w.authority.cert.Raw,
		}}})
		if err != nil {
			return err
		}
		renew := time.NewTimer(time.Until(svid.renew))
		select {
		case <-renew.C:
		case <-stream.Context().Done():
			renew.Stop()
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// FetchX509Bundles sends the authority's certificate, which does not change.
func (w *Workload) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	if err := checkHeader(stream); err != nil {
		return err
	}
	err := stream.Send(&workload.X509BundlesResponse{
		Bundles: map[string][]byte{w.authority.domain.IDString(): w.authority.cert.Raw},
	})
	if err != nil {
		return err
	}
	<-stream.Context().Done()
	return status.FromContextError(stream.Context().Err()).Err()
}

// checkHeader keeps out calls that a web page made somebody send, as section 6 of the
// SPIFFE Workload Endpoint standard demands.
func checkHeader(stream grpc.ServerStream) error {
	received, _ := metadata.FromIncomingContext(stream.Context())
	if values := received.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	return nil
}
