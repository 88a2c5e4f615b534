// SPDX-License-Identifier: Apache-2.0

package excludedprefixes

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/nsurl"
)

type excludedPrefixesClient struct {
	groups [][]*url.URL

	mu   sync.Mutex
	used map[string]use // by connection id
}

// use is what one connection takes.
type use struct {
	group    int // index of its awareness group, -1 for none
	prefixes []string
}

// ClientOption configures NewClient.
type ClientOption func(client *excludedPrefixesClient)

// WithAwarenessGroups sets which network services may share addresses: those
// that have one group in common. A service is in a group if its name is that of
// a URL there, and its labels include that URL's.
func WithAwarenessGroups(awarenessGroups [][]*url.URL) ClientOption {
	return func(client *excludedPrefixesClient) { client.groups = awarenessGroups }
}

// NewClient returns the element that excludes, for each Request, the addresses
// and routes of all other connections that have passed through it.
func NewClient(opts ...ClientOption) networkservice.NetworkServiceClient {
	client := &excludedPrefixesClient{used: make(map[string]use)}
	for _, opt := range opts {
		opt(client)
	}
	return client
}

func (e *excludedPrefixesClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	id, group := conn.GetId(), e.groupOf(conn)
	ip := ipContext(conn)
	ip.ExcludedPrefixes = e.exclusions(id, group, ip.GetExcludedPrefixes())

	reply, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.used[id] = use{group: group, prefixes: prefixesOf(reply.GetContext().GetIpContext())}
	return reply, nil
}

func (e *excludedPrefixesClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	e.mu.Lock()
	delete(e.used, conn.GetId())
	e.mu.Unlock()
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// exclusions returns asked with what the connection id itself uses taken out and
// what others use put in.
func (e *excludedPrefixesClient) exclusions(id string, group int, asked []string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.used[id].prefixes
	var kept, others []string
	for _, prefix := range asked {
		if !slices.Contains(own, prefix) {
			kept = append(kept, prefix)
		}
	}
	for other, use := range e.used {
		if other != id && (group < 0 || use.group != group) {
			others = append(others, use.prefixes...)
		}
	}
	slices.Sort(others)
	return union(kept, others)
}

func (e *excludedPrefixesClient) groupOf(conn *networkservice.Connection) int {
	for i, group := range e.groups {
		for _, u := range group {
			if matches((*nsurl.NSURL)(u), conn) {
				return i
			}
		}
	}
	return -1
}

func matches(u *nsurl.NSURL, conn *networkservice.Connection) bool {
	if u.NetworkService() != conn.GetNetworkService() {
		return false
	}
	for key, value := range u.Labels() {
		if conn.GetLabels()[key] != value {
			return false
		}
	}
	return true
}

// prefixesOf returns the addresses and route destinations of ip, as prefixes.
func prefixesOf(ip *networkservice.IPContext) []string {
	var prefixes []string
	add := func(text string) {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			prefixes = append(prefixes, prefix.Masked().String())
		}
	}
	for _, list := range [][]string{ip.GetSrcIpAddrs(), ip.GetDstIpAddrs()} {
		for _, text := range list {
			add(text)
		}
	}
	for _, list := range [][]*networkservice.Route{ip.GetSrcRoutes(), ip.GetDstRoutes()} {
		for _, route := range list {
			add(route.GetPrefix())
		}
	}
	return union(prefixes, nil)
}
