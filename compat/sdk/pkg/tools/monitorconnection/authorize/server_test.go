// SPDX-License-Identifier: Apache-2.0

package authorize_test

import (
	"context"
	"testing"
	"time"

	"github.com/edwarnicke/genericsync"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/svidtest"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/eventchannel"
	"github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"
	"github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/next"
	"github.com/networkservicemesh/sdk/pkg/tools/opa"
)

// greeter sends one event and ends.
type greeter struct{}

func (greeter) MonitorConnections(_ *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	return stream.Send(&networkservice.ConnectionEvent{})
}

func TestWhoMaySubscribe(t *testing.T) {
	policy, err := opa.PolicyFromFile("etc/nsm/opa/monitor/service_connection.rego")
	require.NoError(t, err)
	ca := svidtest.New(t)
	owner, other := ca.Issue("owner", time.Hour), ca.Issue("other", time.Hour)
	var owners genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]]
	owned := new(genericsync.Map[string, struct{}])
	owned.Store("mine", struct{}{})
	owners.Store(owner.ID, owned)

	strict := []authorize.Option{authorize.WithPolicies(policy), authorize.WithSpiffeIDConnectionMap(&owners)}
	for _, test := range []struct {
		name string
		opts []authorize.Option
		ctx  context.Context
		id   string
		pass bool
	}{
		{"without policies everybody", nil, t.Context(), "mine", true},
		{"any is everybody", append(strict, authorize.Any()), t.Context(), "mine", true},
		{"the owner", strict, svidtest.WithPeer(t.Context(), owner), "mine", true},
		{"the owner, but of something else", strict, svidtest.WithPeer(t.Context(), owner), "theirs", false},
		{"somebody else", strict, svidtest.WithPeer(t.Context(), other), "mine", false},
		{"nobody knows who", strict, t.Context(), "mine", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			events := make(chan *networkservice.ConnectionEvent, 1)
			err := next.NewMonitorConnectionServer(authorize.NewMonitorConnectionServer(test.opts...), greeter{}).
				MonitorConnections(&networkservice.MonitorScopeSelector{PathSegments: []*networkservice.PathSegment{{Id: test.id}}},
					eventchannel.NewMonitorConnectionMonitorConnectionsServer(test.ctx, events))
			if test.pass {
				require.NoError(t, err)
				require.Len(t, events, 1)
			} else {
				require.Equal(t, codes.PermissionDenied, status.Code(err), "%v", err)
				require.Empty(t, events)
			}
		})
	}
}

func TestBehindTheLastServerAStreamJustWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- next.NewMonitorConnectionServer().MonitorConnections(nil,
			eventchannel.NewMonitorConnectionMonitorConnectionsServer(ctx, nil))
	}()
	cancel()
	require.NoError(t, <-done)
}
