// SPDX-License-Identifier: Apache-2.0

// Package dial connects to the next hop over gRPC.
package dial

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
)

// freshness is how long after the TLS handshake a denial is taken at its word.
const freshness = 250 * time.Millisecond

type option struct {
	dialOptions []grpc.DialOption
	timeout     time.Duration
}

// Option configures NewClient.
type Option func(*option)

// WithDialOptions sets the options of the gRPC connections.
func WithDialOptions(dialOptions ...grpc.DialOption) Option {
	return func(o *option) { o.dialOptions = dialOptions }
}

// WithDialTimeout sets how long to wait for a connection to be ready. Without
// it the context of the call decides.
func WithDialTimeout(dialTimeout time.Duration) Option {
	return func(o *option) { o.timeout = dialTimeout }
}

// abandonTimeouts is how many dial timeouts the hop along an old way has to
// close the connection: the new way must not wait for a peer that is gone.
const abandonTimeouts = 4

type dialClient struct{ pool *pool }

// NewClient returns the element that connects to the URL which clienturlctx has
// for the next hop and leaves the connection in clientconn. When the URL
// changes, the NSM connection is closed along the old way before the new one is
// taken. Without a URL it only passes calls on. It needs metadata ahead in the
// chain. All connections are closed when chainCtx ends.
//
// A peer checks our token against the certificate of the TLS handshake, and we
// theirs. After either side has renewed its SVID, an old connection thus meets
// with codes.PermissionDenied: the call is then repeated once over a new one.
func NewClient(chainCtx context.Context, opts ...Option) networkservice.NetworkServiceClient {
	var o option
	for _, opt := range opts {
		opt(&o)
	}
	return &dialClient{pool: newPool(chainCtx, &o)}
}

type linkKey struct{}

func loadLink(ctx context.Context) *link {
	value, _ := metadata.Map(ctx, true).Load(linkKey{})
	l, _ := value.(*link)
	return l
}

// use makes l the way of this NSM connection; nil leaves none.
func use(ctx context.Context, l *link) {
	if l == nil {
		metadata.Map(ctx, true).Delete(linkKey{})
		clientconn.Delete(ctx)
		return
	}
	metadata.Map(ctx, true).Store(linkKey{}, l)
	clientconn.Store(ctx, l.cc)
}

func (d *dialClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	u := clienturlctx.ClientURL(ctx)
	if u == nil {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	postponed := postpone.ContextWithValues(ctx)

	old := loadLink(ctx)
	if old != nil && old.u != *u {
		d.abandon(postponed, old, request.GetConnection(), opts...)
		use(ctx, nil)
		old = nil
	}
	current := old
	if current == nil {
		var err error
		if current, err = d.pool.dial(ctx, u); err != nil {
			return nil, err
		}
		use(ctx, current)
	}

	// Elements behind change what they get, and a second try needs it as it was.
	renewable := current.age() > freshness
	again := request
	if renewable {
		again = request.Clone()
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil && grpcutils.UnwrapCode(err) == codes.PermissionDenied && renewable && ctx.Err() == nil {
		log.FromContext(ctx).Infof("dial: %s: denied over a connection of %v ago, try a new one: %v", u, current.age(), err)
		renewed, dialErr := d.pool.replace(ctx, current, u)
		if dialErr != nil {
			return nil, fmt.Errorf("%w; and then: %w", err, dialErr)
		}
		use(ctx, renewed)
		current.release()
		if old == current {
			old = renewed
		}
		current = renewed
		conn, err = next.Client(ctx).Request(ctx, again, opts...)
	}
	if err != nil && old == nil {
		use(ctx, nil)
		current.release()
	}
	return conn, err
}

// abandon closes conn along the way that it no longer takes.
func (d *dialClient) abandon(postponed func() (context.Context, context.CancelFunc), old *link, conn *networkservice.Connection, opts ...grpc.CallOption) {
	defer old.release()
	ctx, cancel := postponed()
	defer cancel()
	if timeout := d.pool.option.timeout; timeout > 0 {
		ctx, cancel = clock.FromContext(ctx).WithTimeout(ctx, abandonTimeouts*timeout)
		defer cancel()
	}
	if _, err := next.Client(ctx).Close(ctx, conn.Clone(), opts...); err != nil {
		log.FromContext(ctx).Warnf("dial: close connection %s along its old way %s: %v", conn.GetId(), old.u.String(), err)
	}
}

func (d *dialClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	l := loadLink(ctx)
	if l == nil {
		return next.Client(ctx).Close(ctx, conn, opts...)
	}
	renewable := l.age() > freshness
	again := conn.Clone()
	reply, err := next.Client(ctx).Close(ctx, conn, opts...)
	if err != nil && grpcutils.UnwrapCode(err) == codes.PermissionDenied && renewable && ctx.Err() == nil {
		if renewed, dialErr := d.pool.replace(ctx, l, &l.u); dialErr == nil {
			use(ctx, renewed)
			l.release()
			l = renewed
			reply, err = next.Client(ctx).Close(ctx, again, opts...)
		}
	}
	use(ctx, nil)
	l.release()
	return reply, err
}
