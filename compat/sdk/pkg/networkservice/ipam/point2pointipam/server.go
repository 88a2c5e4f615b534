// SPDX-License-Identifier: Apache-2.0

// Package point2pointipam gives the two ends of each connection an address each
// and a route to the other's.
package point2pointipam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/ippool"
)

var errNoPrefix = errors.New("assign addresses: no prefix is configured")

type server struct {
	pools []*ippool.IPPool

	mu       sync.Mutex
	assigned map[string]*pair // by connection id
}

// NewServer returns the element. A connection gets the two lowest free
// addresses of the first prefix that has two: the lower for the endpoint (dst),
// the next for the client (src), each as a /32 or /128, with a route to the
// other's. They are kept until the connection closes, unless the client's
// excluded prefixes come to cover them. A connection that comes with addresses
// of a prefix that are free (this process was started again) keeps them.
func NewServer(prefixes ...*net.IPNet) networkservice.NetworkServiceServer {
	s := &server{assigned: make(map[string]*pair)}
	for _, prefix := range prefixes {
		if prefix != nil {
			s.pools = append(s.pools, ippool.NewWithNet(prefix))
		}
	}
	return s
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if len(s.pools) == 0 {
		return nil, errNoPrefix
	}
	conn := request.GetRequestConnection()
	if conn.GetContext() == nil {
		conn.Context = new(networkservice.ConnectionContext)
	}
	if conn.GetContext().GetIpContext() == nil {
		conn.GetContext().IpContext = new(networkservice.IPContext)
	}
	ipContext := conn.GetContext().GetIpContext()
	excluded := poolsOf(ipContext.GetExcludedPrefixes())
	id := conn.GetId()

	s.mu.Lock()
	before := s.assigned[id]
	s.mu.Unlock()
	now := before
	if before == nil || before.in(excluded) {
		if before != nil {
			before.remove(ipContext)
		}
		var err error
		if now, err = s.assign(ipContext, excluded); err != nil {
			return nil, err
		}
	}
	now.add(ipContext)

	conn, err := next.Server(ctx).Request(ctx, request)
	if now == before {
		return conn, err
	}
	if err != nil {
		now.free()
		return nil, err
	}
	if before != nil {
		before.free()
	}
	s.mu.Lock()
	s.assigned[id] = now
	s.mu.Unlock()
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.mu.Lock()
	held := s.assigned[conn.GetId()]
	delete(s.assigned, conn.GetId())
	s.mu.Unlock()
	if held != nil {
		// Free after the rest: nobody else gets addresses that are still in use.
		defer held.free()
	}
	return next.Server(ctx).Close(ctx, conn)
}

func (s *server) assign(ipContext *networkservice.IPContext, excluded []*ippool.IPPool) (*pair, error) {
	for _, pool := range s.pools {
		if p := recovered(pool, ipContext, excluded); p != nil {
			return p, nil
		}
	}
	var errs []error
	for _, pool := range s.pools {
		dst, src, err := pool.PullP2PAddrs(excluded...)
		if err == nil {
			return &pair{pool: pool, src: src.String(), dst: dst.String()}, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("assign addresses: %w", errors.Join(errs...))
}
