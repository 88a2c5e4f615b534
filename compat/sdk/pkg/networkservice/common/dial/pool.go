// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"

	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
)

// linger is how long a shared connection that nobody uses is kept.
const linger = 5 * time.Second

// reconnect is faster than gRPC's own: the next hop is a process on this node
// or one that other processes wait for as well, and it may have just restarted.
var reconnect = grpc.ConnectParams{
	Backoff: backoff.Config{
		BaseDelay:  50 * time.Millisecond,
		Multiplier: 1.6,
		Jitter:     0.2,
		MaxDelay:   2 * time.Second,
	},
	MinConnectTimeout: 5 * time.Second,
}

// pool shares gRPC connections over TCP between NSM connections, which saves
// each of them a TLS handshake. Those over unix sockets are not shared: the
// file descriptors that came over one stay open as long as it does.
type pool struct {
	ctx    context.Context
	option *option

	mu     sync.Mutex
	shared map[url.URL]*link
	links  map[*link]struct{} // all that are open
	closed bool
}

// link is a gRPC connection and its users.
type link struct {
	pool *pool
	u    url.URL
	cc   *grpc.ClientConn
	born time.Time

	users  int // guarded by the pool's lock
	linger clock.Timer
}

func newPool(ctx context.Context, o *option) *pool {
	p := &pool{ctx: ctx, option: o, shared: make(map[url.URL]*link), links: make(map[*link]struct{})}
	context.AfterFunc(ctx, p.close)
	return p
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for l := range p.links {
		p.drop(l)
	}
}

// drop closes l. The lock is held.
func (p *pool) drop(l *link) {
	if _, open := p.links[l]; !open {
		return
	}
	delete(p.links, l)
	if p.shared[l.u] == l {
		delete(p.shared, l.u)
	}
	if l.linger != nil {
		l.linger.Stop()
	}
	_ = l.cc.Close()
}

// dial returns a ready connection to u; the caller releases it.
func (p *pool) dial(ctx context.Context, u *url.URL) (*link, error) {
	l, err := p.acquire(u)
	if err != nil {
		return nil, err
	}
	waitCtx, cancel := ctx, context.CancelFunc(func() {})
	if p.option.timeout > 0 {
		waitCtx, cancel = clock.FromContext(ctx).WithTimeout(ctx, p.option.timeout)
	}
	defer cancel()
	if err := l.ready(waitCtx); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// replace is dial that does not return old again, nor to anybody else.
func (p *pool) replace(ctx context.Context, old *link, u *url.URL) (*link, error) {
	p.mu.Lock()
	if p.shared[old.u] == old {
		delete(p.shared, old.u)
	}
	p.mu.Unlock()
	return p.dial(ctx, u)
}

func (p *pool) acquire(u *url.URL) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("dial %s: %w", u, p.ctx.Err())
	}
	if l, ok := p.shared[*u]; ok {
		l.users++
		if l.linger != nil {
			l.linger.Stop()
			l.linger = nil
		}
		return l, nil
	}
	target, opts := grpcutils.URLToTarget(u), []grpc.DialOption{grpc.WithConnectParams(reconnect)}
	if u.Scheme == "tcp" {
		// Without this gRPC would look the name up once and keep to that for
		// half a minute; dialling looks it up each time.
		target = "passthrough:///" + target
		opts = append(opts, grpc.WithContextDialer(dialTCP))
	}
	cc, err := grpc.NewClient(target, append(opts, p.option.dialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", u, err)
	}
	l := &link{pool: p, u: *u, cc: cc, born: time.Now(), users: 1}
	p.links[l] = struct{}{}
	if u.Scheme != clienturlctx.UnixURLScheme {
		p.shared[*u] = l
	}
	return l, nil
}

func (l *link) release() {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	if p.closed || p.shared[l.u] != l || l.cc.GetState() != connectivity.Ready {
		p.drop(l)
		return
	}
	l.linger = clock.FromContext(p.ctx).AfterFunc(linger, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.users == 0 {
			p.drop(l)
		}
	})
}

func (l *link) age() time.Duration { return time.Since(l.born) }

// ready waits until the peer has been reached.
func (l *link) ready(ctx context.Context) error {
	for {
		state := l.cc.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Shutdown:
			return fmt.Errorf("dial %s: the connection is closed", l.u.String())
		case connectivity.Idle:
			l.cc.Connect()
		case connectivity.TransientFailure:
			if l.u.Scheme == clienturlctx.UnixURLScheme {
				// Nobody listens, and on a socket that we hold by its descriptor
				// nobody will ever again: healing should look elsewhere at once.
				return fmt.Errorf("dial %s: the peer cannot be reached (%v)", l.u.String(), state)
			}
		}
		if !l.cc.WaitForStateChange(ctx, state) {
			return fmt.Errorf("dial %s: the peer cannot be reached (%v): %w", l.u.String(), state, ctx.Err())
		}
	}
}
