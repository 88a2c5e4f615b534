// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
)

// linger is how long a connection that nobody uses is kept for the next call.
const linger = 5 * time.Second

// pool holds one connection to each URL, shared by all calls. A connection
// that broke is not handed out again, so that the next call dials at once
// and never waits for gRPC's own back-off; it is closed when the last call that
// uses it ends.
type pool struct {
	timeout time.Duration
	options []grpc.DialOption

	mu     sync.Mutex
	closed bool
	byURL  map[string]*shared
}

type shared struct {
	cc    *grpc.ClientConn
	url   string
	users int
	stale bool
	idle  *time.Timer // runs while there are no users
}

// get returns a connection to u, waiting up to the timeout for it.
func (p *pool) get(ctx context.Context, u *url.URL) (*shared, error) {
	conn, err := p.take(u)
	if err != nil {
		return nil, err
	}
	waitCtx, cancel := ctx, context.CancelFunc(func() {})
	if p.timeout > 0 {
		waitCtx, cancel = context.WithTimeout(ctx, p.timeout)
	}
	defer cancel()
	for {
		state := conn.cc.GetState()
		switch state {
		case connectivity.Ready:
			return conn, nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			if err := conn.failure(waitCtx); err != nil {
				p.put(conn, true)
				return nil, status.Error(codes.Unavailable, fmt.Sprintf("dial %s: %v", u, err))
			}
		case connectivity.Idle:
			conn.cc.Connect()
		}
		if !conn.cc.WaitForStateChange(waitCtx, state) {
			p.put(conn, true)
			if err := ctx.Err(); err != nil {
				return nil, status.Error(codes.Unavailable, fmt.Sprintf("dial %s: %v", u, err))
			}
			return nil, status.Error(codes.Unavailable, fmt.Sprintf("dial %s: not connected within %v", u, p.timeout))
		}
	}
}

func (p *pool) take(u *url.URL) (*shared, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, status.Error(codes.Canceled, fmt.Sprintf("dial %s: shutting down", u))
	}
	conn := p.byURL[u.String()]
	if conn != nil {
		switch conn.cc.GetState() {
		case connectivity.TransientFailure, connectivity.Shutdown:
			p.retire(conn)
			conn = nil
		}
	}
	if conn == nil {
		cc, err := grpc.NewClient(target(u), p.options...)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", u, err)
		}
		conn = &shared{cc: cc, url: u.String()}
		p.byURL[conn.url] = conn
	}
	if conn.idle != nil {
		conn.idle.Stop()
	}
	conn.users++
	return conn, nil
}

// put ends a call's use of conn; broken says that the call failed because of it.
func (p *pool) put(conn *shared, broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	conn.users--
	switch {
	case broken:
		p.retire(conn)
	case conn.users > 0:
	case conn.stale:
		_ = conn.cc.Close()
	case !p.closed:
		conn.idle = time.AfterFunc(linger, func() { p.expire(conn) })
	}
}

func (p *pool) expire(conn *shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn.users == 0 {
		p.retire(conn)
	}
}

// retire must be called with mu held.
func (p *pool) retire(conn *shared) {
	if p.byURL[conn.url] == conn {
		delete(p.byURL, conn.url)
	}
	conn.stale = true
	if conn.users == 0 {
		_ = conn.cc.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, conn := range p.byURL {
		if conn.idle != nil {
			conn.idle.Stop()
		}
		_ = conn.cc.Close()
	}
	p.byURL = nil
}

// broke says whether a call over the connection failed because of it. A call
// may be denied because the certificates of the handshake have been rotated
// since; on a connection of today it would not be.
func (s *shared) broke(err error) bool {
	return err != nil &&
		(s.cc.GetState() != connectivity.Ready || grpcutils.UnwrapCode(err) == codes.PermissionDenied)
}

// failure says why there is no connection. gRPC tells that only to a call; this
// one, should it get through after all, is refused as unknown.
func (s *shared) failure(ctx context.Context) error {
	err := s.cc.Invoke(ctx, "/nsm.Dial/Probe", new(emptypb.Empty), new(emptypb.Empty), grpc.WaitForReady(false))
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}

// target keeps gRPC from looking up a proxy or a DNS name for what is an address.
func target(u *url.URL) string {
	name := grpcutils.URLToTarget(u)
	if u.Scheme == "tcp" {
		return "passthrough:///" + name
	}
	return name
}
