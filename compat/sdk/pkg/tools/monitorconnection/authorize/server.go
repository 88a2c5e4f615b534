// SPDX-License-Identifier: Apache-2.0

// Package authorize decides who may subscribe to connection events.
package authorize

import (
	"context"
	"fmt"

	"github.com/edwarnicke/genericsync"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/next"
	"github.com/networkservicemesh/sdk/pkg/tools/spire"
)

// Policy decides about one input.
type Policy interface {
	// Name returns where the policy is from.
	Name() string
	// Check returns an error unless input may pass.
	Check(ctx context.Context, input interface{}) error
}

// MonitorOpaInput is what policies decide about: which connections each peer
// owns, which ones are asked for, and who asks.
type MonitorOpaInput struct {
	SpiffeIDConnectionMap map[string][]string `json:"spiffe_id_connection_map"`
	SelectorConnectionIDs []string            `json:"selector_connection_ids"`
	ServiceSpiffeID       string              `json:"service_spiffe_id"`
}

type connectionMap = genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]]

type authorizeServer struct {
	policies    []Policy
	connections *connectionMap
}

// Option configures NewMonitorConnectionServer.
type Option func(*authorizeServer)

// Any lets everybody subscribe.
func Any() Option { return WithPolicies() }

// WithPolicies sets the policies that must all agree.
func WithPolicies(p ...Policy) Option {
	return func(o *authorizeServer) { o.policies = p }
}

// WithSpiffeIDConnectionMap sets who owns which connections; the server half of
// the same hop fills it in.
func WithSpiffeIDConnectionMap(s *genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]]) Option {
	return func(o *authorizeServer) { o.connections = s }
}

// NewMonitorConnectionServer returns the element that refuses streams which a
// policy does not agree to. There is no policy unless WithPolicies sets one.
func NewMonitorConnectionServer(opts ...Option) networkservice.MonitorConnectionServer {
	a := &authorizeServer{connections: new(connectionMap)}
	for _, opt := range opts {
		opt(a)
	}
	return a
}

func (a *authorizeServer) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	if len(a.policies) > 0 {
		input := a.input(stream.Context(), selector)
		for _, policy := range a.policies {
			if policy == nil {
				continue
			}
			if err := policy.Check(stream.Context(), input); err != nil {
				return fmt.Errorf("authorize monitor: %w", err)
			}
		}
	}
	return next.MonitorConnectionServer(stream.Context()).MonitorConnections(selector, stream)
}

func (a *authorizeServer) input(ctx context.Context, selector *networkservice.MonitorScopeSelector) *MonitorOpaInput {
	input := &MonitorOpaInput{SpiffeIDConnectionMap: make(map[string][]string)}
	// A peer without identity owns nothing; the policies refuse it.
	if id, err := spire.PeerSpiffeIDFromContext(ctx); err == nil {
		input.ServiceSpiffeID = id.String()
	}
	for _, segment := range selector.GetPathSegments() {
		input.SelectorConnectionIDs = append(input.SelectorConnectionIDs, segment.GetId())
	}
	a.connections.Range(func(id spiffeid.ID, owned *genericsync.Map[string, struct{}]) bool {
		ids := []string{}
		owned.Range(func(connection string, _ struct{}) bool {
			ids = append(ids, connection)
			return true
		})
		input.SpiffeIDConnectionMap[id.String()] = ids
		return true
	})
	return input
}
