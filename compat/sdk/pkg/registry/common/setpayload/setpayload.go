// SPDX-License-Identifier: Apache-2.0

// Package setpayload gives network services without a payload one.
package setpayload

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice/payload"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

type setPayloadNSServer struct {
	either.PassNSServer
	payload string
}

// Option changes the element.
type Option func(*setPayloadNSServer)

// WithPayload sets the payload to give; IP without it.
func WithPayload(payload string) Option {
	return func(s *setPayloadNSServer) { s.payload = payload }
}

// NewNetworkServiceRegistryServer returns the element.
func NewNetworkServiceRegistryServer(options ...Option) registry.NetworkServiceRegistryServer {
	s := &setPayloadNSServer{payload: payload.IP}
	for _, option := range options {
		option(s)
	}
	return s
}

func (s *setPayloadNSServer) Register(ctx context.Context, ns *registry.NetworkService) (*registry.NetworkService, error) {
	if ns.GetPayload() == "" {
		ns = ns.Clone()
		ns.Payload = s.payload
	}
	return next.NetworkServiceRegistryServer(ctx).Register(ctx, ns)
}
