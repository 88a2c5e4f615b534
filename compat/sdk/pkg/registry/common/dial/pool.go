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

const (
	// linger is how long a connection that nobody uses is kept for the next call.
	linger = 5 * time.Second
	// renewal is the age at which a connection is given to no more calls. A
	// connection holds every descriptor that came over it for as long as it lives.
	renewal = 30 * time.Second
	// freshness is the age above which a refusal may be the connection's fault:
	// the peer compares tokens with the certificate that a connection began with.
	freshness = time.Second
)

// pool has connections to URLs. Calls to one URL share one; a watch has one of
// its own. A connection that broke is given to no more calls, so that the next
// call dials at once and never waits for gRPC's own back-off. It is closed when
// the last call that uses it ends.
type pool struct {
	timeout time.Duration
	options []grpc.DialOption

	mu     sync.Mutex
	closed bool
	open   map[*link]struct{}
	shared map[string]*link // by URL
}

// link is a connection. Its fields are guarded by the pool's mutex.
type link struct {
	cc      *grpc.ClientConn
	created time.Time
	users   int
	retired bool        // closed when there are no users
	idle    *time.Timer // runs while there are no users
}

func newPool(ctx context.Context, o *option) *pool {
	p := &pool{timeout: o.timeout, options: o.options, open: make(map[*link]struct{}), shared: make(map[string]*link)}
	context.AfterFunc(ctx, p.close)
	return p
}

// get returns a connection to u, waiting up to the timeout for it.
func (p *pool) get(ctx context.Context, u *url.URL, exclusive bool) (*link, error) {
	l, err := p.take(u, exclusive)
	if err != nil {
		return nil, err
	}
	waitCtx, cancel := ctx, context.CancelFunc(func() {})
	if p.timeout > 0 {
		waitCtx, cancel = context.WithTimeout(ctx, p.timeout)
	}
	defer cancel()
	for {
		state := l.cc.GetState()
		switch state {
		case connectivity.Ready:
			return l, nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			if err := l.failure(waitCtx); err != nil {
				p.put(l, true)
				return nil, status.Error(codes.Unavailable, fmt.Sprintf("dial %s: %v", u, err))
			}
		case connectivity.Idle:
			l.cc.Connect()
		}
		if !l.cc.WaitForStateChange(waitCtx, state) {
			p.put(l, true)
			if err := ctx.Err(); err != nil {
				return nil, status.Error(codes.Unavailable, fmt.Sprintf("dial %s: %v", u, err))
			}
			return nil, status.Error(codes.Unavailable, fmt.Sprintf("dial %s: not connected within %v", u, p.timeout))
		}
	}
}

func (p *pool) take(u *url.URL, exclusive bool) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, status.Error(codes.Canceled, fmt.Sprintf("dial %s: shutting down", u))
	}
	key := u.String()
	if l := p.shared[key]; l != nil && !exclusive {
		state := l.cc.GetState()
		switch {
		case l.retired:
		case state == connectivity.TransientFailure, state == connectivity.Shutdown, time.Since(l.created) > renewal:
			p.retire(l)
		default:
			if l.idle != nil {
				l.idle.Stop()
			}
			l.users++
			return l, nil
		}
	}
	cc, err := grpc.NewClient(target(u), p.options...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	l := &link{cc: cc, created: time.Now(), users: 1, retired: exclusive}
	p.open[l] = struct{}{}
	if !exclusive {
		p.shared[key] = l
	}
	return l, nil
}

// put ends a call's use of l; broken says that l is good for no more calls.
func (p *pool) put(l *link, broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.users--
	if broken || l.retired {
		p.retire(l)
	} else if l.users == 0 && !p.closed {
		l.idle = time.AfterFunc(linger, func() { p.expire(l) })
	}
}

func (p *pool) expire(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users == 0 {
		p.retire(l)
	}
}

// retire must be called with mu held.
func (p *pool) retire(l *link) {
	l.retired = true
	if l.users > 0 {
		return
	}
	_ = l.cc.Close()
	delete(p.open, l)
	for key, shared := range p.shared {
		if shared == l {
			delete(p.shared, key)
		}
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for l := range p.open {
		if l.idle != nil {
			l.idle.Stop()
		}
		_ = l.cc.Close()
	}
	p.open, p.shared = nil, nil
}

// broke says whether a call over the connection failed because of it.
func (l *link) broke(err error) bool {
	return err != nil && l.cc.GetState() != connectivity.Ready
}

// outdated says whether the peer refused a call perhaps only because the
// connection began before one side's certificate was renewed.
func (l *link) outdated(err error) bool {
	return err != nil && grpcutils.UnwrapCode(err) == codes.PermissionDenied && time.Since(l.created) > freshness
}

// failure says why there is no connection. gRPC tells that only to a call; this
// one, should it get through after all, is refused as unknown.
func (l *link) failure(ctx context.Context) error {
	err := l.cc.Invoke(ctx, "/nsm.Dial/Probe", new(emptypb.Empty), new(emptypb.Empty), grpc.WaitForReady(false))
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}

// target keeps gRPC from looking up a DNS name by itself: the dialer does, each
// time that it dials.
func target(u *url.URL) string {
	name := grpcutils.URLToTarget(u)
	if u.Scheme == "tcp" {
		return "passthrough:///" + name
	}
	return name
}
