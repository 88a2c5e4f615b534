// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/tools/matchutils"
)

var errNotFound = errors.New("not found")

// finder asks the registries: first for what is there, and if that is not what
// is needed, it watches until it is.
type finder struct {
	ns  registry.NetworkServiceRegistryClient
	nse registry.NetworkServiceEndpointRegistryClient
}

// margin is the part of the time to a deadline that is left, when waiting was
// in vain, for the error to reach the client.
const margin = 20

// waiting returns a context that ends a little before ctx.
func waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/margin))
}

func (f *finder) service(ctx context.Context, name, payload string) (*registry.NetworkService, error) {
	fits := func(ns *registry.NetworkService) bool { return ns.GetName() == name }
	query := &registry.NetworkServiceQuery{NetworkService: &registry.NetworkService{Name: name, Payload: payload}}

	stop, cancel := waiting(ctx)
	defer cancel()
	stream, err := f.ns.Find(stop, query)
	if err != nil {
		return nil, fmt.Errorf("discover network service %s: %w", name, err)
	}
	for _, ns := range registry.ReadNetworkServiceList(stream) {
		if fits(ns) {
			return ns, nil
		}
	}

	query.Watch = true
	if stream, err = f.ns.Find(stop, query); err != nil {
		return nil, fmt.Errorf("discover network service %s: %w", name, err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("discover network service %s: not found: %w", name, err)
		}
		if !response.GetDeleted() && fits(response.GetNetworkService()) {
			return response.GetNetworkService(), nil
		}
	}
}

// endpoint waits for the endpoint only if wait says so.
func (f *finder) endpoint(ctx context.Context, name string, wait bool) (*registry.NetworkServiceEndpoint, error) {
	query := &registry.NetworkServiceEndpoint{Name: name}
	nses, err := f.endpoints(ctx, query, wait, func(nses []*registry.NetworkServiceEndpoint) []*registry.NetworkServiceEndpoint {
		for _, nse := range nses {
			if nse.GetName() == name {
				return []*registry.NetworkServiceEndpoint{nse}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("discover endpoint %s: %w", name, err)
	}
	return nses[0], nil
}

func (f *finder) candidates(ctx context.Context, ns *registry.NetworkService, labels map[string]string) ([]*registry.NetworkServiceEndpoint, error) {
	query := &registry.NetworkServiceEndpoint{NetworkServiceNames: []string{ns.GetName()}}
	nses, err := f.endpoints(ctx, query, true, func(nses []*registry.NetworkServiceEndpoint) []*registry.NetworkServiceEndpoint {
		return matchutils.MatchEndpoint(labels, ns, alive(nses)...)
	})
	if err != nil {
		return nil, fmt.Errorf("discover an endpoint for network service %s: %w", ns.GetName(), err)
	}
	return nses, nil
}

// endpoints returns those that choose leaves, as soon as it leaves some.
func (f *finder) endpoints(
	ctx context.Context, asked *registry.NetworkServiceEndpoint, wait bool,
	choose func([]*registry.NetworkServiceEndpoint) []*registry.NetworkServiceEndpoint,
) ([]*registry.NetworkServiceEndpoint, error) {
	stop, cancel := waiting(ctx)
	defer cancel()
	query := &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: asked}
	stream, err := f.nse.Find(stop, query)
	if err != nil {
		return nil, err
	}
	if nses := choose(registry.ReadNetworkServiceEndpointList(stream)); len(nses) > 0 {
		return nses, nil
	}
	if !wait {
		return nil, errNotFound
	}

	query.Watch = true
	if stream, err = f.nse.Find(stop, query); err != nil {
		return nil, err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotFound, err)
		}
		if response.GetDeleted() {
			continue
		}
		if nses := choose([]*registry.NetworkServiceEndpoint{response.GetNetworkServiceEndpoint()}); len(nses) > 0 {
			return nses, nil
		}
	}
}

// alive leaves out endpoints that have expired but are not removed yet.
func alive(nses []*registry.NetworkServiceEndpoint) []*registry.NetworkServiceEndpoint {
	var left []*registry.NetworkServiceEndpoint
	for _, nse := range nses {
		if expires := nse.GetExpirationTime(); expires == nil || expires.AsTime().After(time.Now()) {
			left = append(left, nse)
		}
	}
	return left
}
