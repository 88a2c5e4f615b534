// SPDX-License-Identifier: Apache-2.0

// Package excludedprefixes keeps the addresses of connections apart from those
// that are in use already: the server adds the cluster's own prefixes, the
// client those of the client's other connections.
package excludedprefixes

import (
	"context"
	"sync/atomic"

	"google.golang.org/protobuf/types/known/emptypb"
	"sigs.k8s.io/yaml"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/fs"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// PrefixesFilePathDefault is where the cluster's prefixes are read from unless
// WithConfigPath says otherwise: YAML with a list under the key prefixes.
const PrefixesFilePathDefault = "/var/lib/networkservicemesh/config/excluded_prefixes.yaml"

type excludedPrefixesServer struct {
	path     string
	prefixes atomic.Pointer[[]string]
}

// ServerOption configures NewServer.
type ServerOption func(server *excludedPrefixesServer)

// WithConfigPath sets the file to read.
func WithConfigPath(s string) ServerOption {
	return func(server *excludedPrefixesServer) { server.path = s }
}

// NewServer returns the element that excludes the prefixes of the file, as it
// is by then, for each Request. It follows the file until ctx ends.
func NewServer(ctx context.Context, setters ...ServerOption) networkservice.NetworkServiceServer {
	server := &excludedPrefixesServer{path: PrefixesFilePathDefault}
	server.prefixes.Store(new([]string))
	for _, set := range setters {
		set(server)
	}
	updates := fs.WatchFile(ctx, server.path)
	server.read(ctx, <-updates)
	go func() {
		for content := range updates {
			server.read(ctx, content)
		}
	}()
	return server
}

// read takes the prefixes from content; nil is a file that does not exist.
func (e *excludedPrefixesServer) read(ctx context.Context, content []byte) {
	var file struct {
		Prefixes []string `json:"prefixes"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		log.FromContext(ctx).Errorf("excluded prefixes: %s: %v", e.path, err)
		return
	}
	e.prefixes.Store(&file.Prefixes)
}

func (e *excludedPrefixesServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if prefixes := *e.prefixes.Load(); len(prefixes) > 0 {
		ip := ipContext(request.GetConnection())
		ip.ExcludedPrefixes = union(ip.GetExcludedPrefixes(), prefixes)
	}
	return next.Server(ctx).Request(ctx, request)
}

func (e *excludedPrefixesServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

// ipContext returns the IP context of conn, made if it has none.
func ipContext(conn *networkservice.Connection) *networkservice.IPContext {
	if conn.GetContext() == nil {
		conn.Context = new(networkservice.ConnectionContext)
	}
	if conn.GetContext().GetIpContext() == nil {
		conn.Context.IpContext = new(networkservice.IPContext)
	}
	return conn.GetContext().GetIpContext()
}

// union returns a and then what b has more, without repetitions.
func union(a, b []string) []string {
	seen := make(map[string]struct{}, len(a)+len(b))
	var all []string
	for _, list := range [][]string{a, b} {
		for _, prefix := range list {
			if _, ok := seen[prefix]; !ok {
				seen[prefix] = struct{}{}
				all = append(all, prefix)
			}
		}
	}
	return all
}
