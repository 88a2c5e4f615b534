// SPDX-License-Identifier: Apache-2.0

package unsupported

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

type client struct {
	reasons map[string]string
}

// NewClient tells why an endpoint of this node, which takes none of the mechanisms
// that it was offered, was not offered those with a reason. It belongs behind
// filtermechanisms.
func NewClient(reasons map[string]string) networkservice.NetworkServiceClient {
	return &client{reasons: reasons}
}

func (c *client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	near := toEndpointOfThisNode(request)
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err == nil || !near || !refused(err) {
		return conn, err
	}
	for _, mechanism := range slices.Sorted(maps.Keys(c.reasons)) {
		err = fmt.Errorf("%w; mechanism %s was not offered to the endpoint: %w: %s", err, mechanism, ErrUnsupported, c.reasons[mechanism])
	}
	return nil, err
}

// toEndpointOfThisNode tells whether a pod's interface is asked for, and no tunnel.
func toEndpointOfThisNode(request *networkservice.NetworkServiceRequest) bool {
	return slices.ContainsFunc(request.GetMechanismPreferences(), func(m *networkservice.Mechanism) bool {
		return m.GetCls() == cls.LOCAL
	})
}

// refused tells whether an endpoint takes none of the mechanisms. gRPC brings its
// error as a text: the SDK's, whose words differ between releases.
func refused(err error) bool {
	text := err.Error()
	return strings.Contains(text, "unsupported mechanism") || strings.Contains(text, "mechanism is not supported")
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
