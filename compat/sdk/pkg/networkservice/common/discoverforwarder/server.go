// SPDX-License-Identifier: Apache-2.0

// Package discoverforwarder chooses the forwarder of this node that a request
// is sent to.
package discoverforwarder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/matchutils"
)

type discoverForwarderServer struct {
	ns          registry.NetworkServiceRegistryClient
	nse         registry.NetworkServiceEndpointRegistryClient
	serviceName string
	nsmgrURL    string
}

// Option changes the element.
type Option func(*discoverForwarderServer)

// WithForwarderServiceName sets the network service under which forwarders
// register; "forwarder" without it.
func WithForwarderServiceName(serviceName string) Option {
	return func(s *discoverForwarderServer) { s.serviceName = serviceName }
}

// WithNSMgrURL sets the URL under which this node's endpoints are registered.
func WithNSMgrURL(nsmgrURL string) Option {
	return func(s *discoverForwarderServer) { s.nsmgrURL = nsmgrURL }
}

// NewServer returns the element. A connection stays with its forwarder until it
// closes or a reselect is asked for. A new one tries first the forwarder that
// its path names, and then the others until one succeeds; only those that the
// network service admits by its matches (by default: labelled p2p=true). It
// needs a metadata server before it. It panics if a client is nil.
func NewServer(nsClient registry.NetworkServiceRegistryClient, nseClient registry.NetworkServiceEndpointRegistryClient, opts ...Option) networkservice.NetworkServiceServer {
	if nsClient == nil || nseClient == nil {
		panic("discover forwarder: a registry client is nil")
	}
	s := &discoverForwarderServer{ns: nsClient, nse: nseClient, serviceName: "forwarder"}
	for _, opt := range opts {
		opt(s)
	}
	return s
}

type forwarderKey struct{}

func (s *discoverForwarderServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	reselect := conn.GetState() == networkservice.State_RESELECT_REQUESTED
	store := metadata.Map(ctx, false)
	current, _ := store.Load(forwarderKey{})
	name, _ := current.(string)
	if reselect {
		name = ""
	}

	ns, err := s.networkService(ctx, conn)
	if err != nil {
		return nil, err
	}
	forwarders, err := s.find(ctx, &registry.NetworkServiceEndpoint{
		Name: name, NetworkServiceNames: []string{s.serviceName}, Url: s.nsmgrURL,
	})
	if err != nil {
		return nil, err
	}
	forwarders = s.admitted(ns, conn.GetLabels(), forwarders)
	if len(forwarders) == 0 {
		if name != "" {
			return nil, fmt.Errorf("discover forwarder: %s, which has the connection, is not available", name)
		}
		return nil, fmt.Errorf("discover forwarder: none is registered on %s that serves %s", s.nsmgrURL, ns.GetName())
	}
	if name == "" && !reselect {
		preferInPath(forwarders, conn)
	}

	var errs []error
	for _, forwarder := range forwarders {
		u, err := url.Parse(forwarder.GetUrl())
		if err == nil {
			var established *networkservice.Connection
			if established, err = next.Server(ctx).Request(clienturlctx.WithClientURL(ctx, u), request.Clone()); err == nil {
				store.Store(forwarderKey{}, forwarder.GetName())
				return established, nil
			}
		}
		errs = append(errs, fmt.Errorf("forwarder %s: %w", forwarder.GetName(), err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// Close reaches the next element whether the forwarder is there or not: what
// this process holds for the connection must be cleaned up.
func (s *discoverForwarderServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	current, _ := metadata.Map(ctx, false).Load(forwarderKey{})
	name, _ := current.(string)
	if name == "" {
		name = conn.GetNextPathSegment().GetName()
	}
	if u, err := s.url(ctx, name); err != nil {
		log.FromContext(ctx).Warnf("close %s: %v", conn.GetId(), err)
	} else {
		ctx = clienturlctx.WithClientURL(ctx, u)
	}
	return next.Server(ctx).Close(ctx, conn)
}

var errNotFound = errors.New("not registered")

func (s *discoverForwarderServer) url(ctx context.Context, name string) (*url.URL, error) {
	if name == "" {
		return nil, errors.New("discover forwarder: the connection has none")
	}
	forwarders, err := s.find(ctx, &registry.NetworkServiceEndpoint{Name: name, Url: s.nsmgrURL})
	if err != nil {
		return nil, err
	}
	if len(forwarders) == 0 {
		return nil, fmt.Errorf("discover forwarder %s: %w", name, errNotFound)
	}
	u, err := url.Parse(forwarders[0].GetUrl())
	if err != nil {
		return nil, fmt.Errorf("discover forwarder %s: %w", name, err)
	}
	return u, nil
}

func (s *discoverForwarderServer) find(ctx context.Context, asked *registry.NetworkServiceEndpoint) ([]*registry.NetworkServiceEndpoint, error) {
	stream, err := s.nse.Find(ctx, &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: asked})
	if err != nil {
		return nil, fmt.Errorf("discover forwarder: %w", err)
	}
	responses, err := readAll(stream.Recv)
	if err != nil {
		return nil, fmt.Errorf("discover forwarder: %w", err)
	}
	var found []*registry.NetworkServiceEndpoint
	for _, r := range responses {
		if !r.GetDeleted() {
			found = append(found, r.GetNetworkServiceEndpoint())
		}
	}
	return found, nil
}

// readAll reads a stream to its end. Where it breaks off before, what is missing
// may well be registered.
func readAll[R any](recv func() (R, error)) (all []R, err error) {
	for {
		r, err := recv()
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, r)
	}
}

func (s *discoverForwarderServer) networkService(ctx context.Context, conn *networkservice.Connection) (*registry.NetworkService, error) {
	name := conn.GetNetworkService()
	stream, err := s.ns.Find(ctx, &registry.NetworkServiceQuery{
		NetworkService: &registry.NetworkService{Name: name, Payload: conn.GetPayload()},
	})
	if err != nil {
		return nil, fmt.Errorf("discover network service %s: %w", name, err)
	}
	responses, err := readAll(stream.Recv)
	if err != nil {
		return nil, fmt.Errorf("discover network service %s: %w", name, err)
	}
	for _, r := range responses {
		if !r.GetDeleted() && r.GetNetworkService().GetName() == name {
			return r.GetNetworkService(), nil
		}
	}
	return nil, fmt.Errorf("discover network service %s: %w", name, errNotFound)
}

// admitted filters by the first match whose source selector fits, or if that
// is a fallthrough one that leaves none, by the next.
func (s *discoverForwarderServer) admitted(ns *registry.NetworkService, labels map[string]string, forwarders []*registry.NetworkServiceEndpoint) []*registry.NetworkServiceEndpoint {
	if len(ns.GetMatches()) == 0 {
		return forwarders
	}
	for _, match := range ns.GetMatches() {
		if !matchutils.IsSubset(labels, match.GetSourceSelector(), labels) {
			continue
		}
		wanted := match.GetMetadata().GetLabels()
		if wanted == nil {
			wanted = map[string]string{"p2p": "true"}
		}
		left := slices.DeleteFunc(slices.Clone(forwarders), func(nse *registry.NetworkServiceEndpoint) bool {
			own, ok := nse.GetNetworkServiceLabels()[s.serviceName]
			return !ok || !matchutils.IsSubset(own.GetLabels(), wanted, labels)
		})
		if len(left) > 0 || !match.GetFallthrough() {
			return left
		}
	}
	return nil
}

// preferInPath moves the forwarder that the connection went through, before
// this process was started again, to the front.
func preferInPath(forwarders []*registry.NetworkServiceEndpoint, conn *networkservice.Connection) {
	name := conn.GetNextPathSegment().GetName()
	i := slices.IndexFunc(forwarders, func(nse *registry.NetworkServiceEndpoint) bool { return nse.GetName() == name })
	if i > 0 {
		forwarders[0], forwarders[i] = forwarders[i], forwarders[0]
	}
}
