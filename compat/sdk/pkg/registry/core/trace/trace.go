// SPDX-License-Identifier: Apache-2.0

// Package trace logs what goes into a registry element and what comes out, when
// tracing is enabled (log.EnableTracing).
package trace

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// NewNetworkServiceRegistryClient returns traced with tracing around it.
func NewNetworkServiceRegistryClient(traced registry.NetworkServiceRegistryClient) registry.NetworkServiceRegistryClient {
	return &client[either.NS, either.NSQuery, either.NSRecv]{traced: traced, name: nameOf(traced)}
}

// NewNetworkServiceRegistryServer returns traced with tracing around it.
func NewNetworkServiceRegistryServer(traced registry.NetworkServiceRegistryServer) registry.NetworkServiceRegistryServer {
	return &server[either.NS, either.NSQuery, either.NSSend]{traced: traced, name: nameOf(traced)}
}

// NewNetworkServiceEndpointRegistryClient returns traced with tracing around it.
func NewNetworkServiceEndpointRegistryClient(traced registry.NetworkServiceEndpointRegistryClient) registry.NetworkServiceEndpointRegistryClient {
	return &client[either.NSE, either.NSEQuery, either.NSERecv]{traced: traced, name: nameOf(traced)}
}

// NewNetworkServiceEndpointRegistryServer returns traced with tracing around it.
func NewNetworkServiceEndpointRegistryServer(traced registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryServer {
	return &server[either.NSE, either.NSEQuery, either.NSESend]{traced: traced, name: nameOf(traced)}
}

type client[T, Q, F any] struct {
	traced either.Client[T, Q, F]
	name   string
}

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	done := begin(ctx, c.name, "register", in)
	out, err := c.traced.Register(ctx, in, opts...)
	done(out, err)
	return out, err
}

func (c *client[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	done := begin(ctx, c.name, "find", in)
	stream, err := c.traced.Find(ctx, in, opts...)
	done("a stream", err)
	return stream, err
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	done := begin(ctx, c.name, "unregister", in)
	out, err := c.traced.Unregister(ctx, in, opts...)
	done(out, err)
	return out, err
}

type server[T, Q any, F either.Stream] struct {
	traced either.Server[T, Q, F]
	name   string
}

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	done := begin(ctx, s.name, "register", in)
	out, err := s.traced.Register(ctx, in)
	done(out, err)
	return out, err
}

func (s *server[T, Q, F]) Find(in Q, stream F) error {
	done := begin(stream.Context(), s.name, "find", in)
	err := s.traced.Find(in, stream)
	done("the end", err)
	return err
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	done := begin(ctx, s.name, "unregister", in)
	out, err := s.traced.Unregister(ctx, in)
	done(out, err)
	return out, err
}

// begin logs the call and returns the function that logs its result.
func begin(ctx context.Context, element, call string, in any) func(out any, err error) {
	if !log.IsTracingEnabled() {
		return func(any, error) {}
	}
	logger := log.FromContext(ctx).WithField("element", element)
	logger.Tracef("%s: %v", call, in)
	return func(out any, err error) {
		if err != nil {
			logger.Tracef("%s failed: %v", call, err)
			return
		}
		logger.Tracef("%s returns %v", call, out)
	}
}

// nameOf returns the package and type of an element, without type arguments.
func nameOf(element any) string {
	name, _, _ := strings.Cut(fmt.Sprintf("%T", element), "[")
	return strings.TrimPrefix(name, "*")
}
