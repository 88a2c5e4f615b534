// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/sandbox"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/nsmgr"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/filtermechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/heal"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/vxlan/vni"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanismtranslation"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/roundrobin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/point2pointipam"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	"github.com/networkservicemesh/sdk/pkg/registry/chains/memory"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	registrysendfd "github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
	monitornext "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/next"
)

const (
	service = "my-service"
	// patience is how long a test waits for what should take a fraction of it.
	patience    = 10 * time.Second
	dialTimeout = 750 * time.Millisecond
)

// mesh is a registry and some nodes.
type mesh struct {
	t           *testing.T
	authority   *sandbox.Authority
	registryURL *url.URL
	registry    *sandbox.Process
}

type node struct {
	*mesh
	name     string
	unix     *url.URL // of the nsmgr, for its clients
	public   *url.URL // of the nsmgr, for other nodes
	tunnelIP net.IP
	nsmgr    *sandbox.Process
	monitors atomic.Int32 // streams opened to the nsmgr
}

// MonitorConnections counts.
func (n *node) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	n.monitors.Add(1)
	return monitornext.MonitorConnectionServer(stream.Context()).MonitorConnections(selector, stream)
}

func newMesh(t *testing.T) *mesh {
	m := &mesh{t: t, authority: sandbox.NewAuthority(t), registryURL: sandbox.TCP(t)}
	m.startRegistry()
	return m
}

func (m *mesh) startRegistry() {
	identity := m.authority.Issue(m.t, "registry")
	m.registry = sandbox.Start(m.t, identity, func(ctx context.Context) func(*grpc.Server) {
		return memory.NewServer(ctx, identity.Tokens()).Register
	}, m.registryURL)
}

func (m *mesh) newNode(name string, tunnelIP string) *node {
	n := &node{
		mesh: m, name: name, unix: sandbox.Unix(m.t, "nsm.io.sock"), public: sandbox.TCP(m.t),
		tunnelIP: net.ParseIP(tunnelIP),
	}
	n.startNSMgr()
	return n
}

func (n *node) startNSMgr() {
	identity := n.authority.Issue(n.t, "nsmgr-"+n.name)
	n.nsmgr = sandbox.Start(n.t, identity, func(ctx context.Context) func(*grpc.Server) {
		return nsmgr.NewServer(ctx, identity.Tokens(),
			nsmgr.WithName("nsmgr-"+n.name),
			nsmgr.WithURL(n.public.String()),
			nsmgr.WithRegistry(n.registryURL),
			nsmgr.WithDialOptions(identity.DialOptions()...),
			nsmgr.WithDialTimeout(dialTimeout),
			nsmgr.WithAuthorizeMonitorConnectionServer(n),
		).Register
	}, n.unix, n.public)
}

func (n *node) registryClient(ctx context.Context, identity *sandbox.Identity) registry.NetworkServiceEndpointRegistryClient {
	return registryclient.NewNetworkServiceEndpointRegistryClient(ctx,
		registryclient.WithClientURL(n.unix),
		registryclient.WithDialOptions(identity.DialOptions()...),
		registryclient.WithDialTimeout(dialTimeout),
		registryclient.WithNSEAdditionalFunctionality(
			registryrecvfd.NewNetworkServiceEndpointRegistryClient(),
			registrysendfd.NewNetworkServiceEndpointRegistryClient(),
		),
	)
}

func (n *node) serviceClient(ctx context.Context, identity *sandbox.Identity) registry.NetworkServiceRegistryClient {
	return registryclient.NewNetworkServiceRegistryClient(ctx,
		registryclient.WithClientURL(n.unix),
		registryclient.WithDialOptions(identity.DialOptions()...),
		registryclient.WithDialTimeout(dialTimeout),
	)
}

// register a network service through this node.
func (n *node) registerService(ns *registry.NetworkService) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	chainCtx, end := context.WithCancel(context.Background())
	defer end()
	_, err := n.serviceClient(chainCtx, n.authority.Issue(n.t, "operator")).Register(ctx, ns)
	require.NoError(n.t, err)
}

// forwarder is one that moves no packets. It notes the files that it was given.
type forwarder struct {
	*sandbox.Process
	requests, closes atomic.Int32
	broken           atomic.Bool // refuses requests
	// client and server are the last mechanisms on either side.
	client, server atomic.Pointer[networkservice.Mechanism]
}

func (n *node) startForwarder(name string, labels map[string]string) *forwarder {
	identity := n.authority.Issue(n.t, name)
	f := new(forwarder)
	listenOn := sandbox.Unix(n.t, "listen.on.sock")
	var nseClient registry.NetworkServiceEndpointRegistryClient
	f.Process = sandbox.Start(n.t, identity, func(ctx context.Context) func(*grpc.Server) {
		nseClient = n.registryClient(ctx, identity)
		return endpoint.NewServer(ctx, identity.Tokens(),
			endpoint.WithName(name),
			endpoint.WithAdditionalFunctionality(
				recvfd.NewServer(),
				sendfd.NewServer(),
				discover.NewServer(n.serviceClient(ctx, identity), nseClient),
				roundrobin.NewServer(),
				&spy{forwarder: f},
				mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
					kernelmech.MECHANISM: null.NewServer(),
					vxlan.MECHANISM:      vni.NewServer(n.tunnelIP),
				}),
				connect.NewServer(client.NewClient(ctx,
					client.WithName(name),
					client.WithoutRefresh(),
					client.WithAdditionalFunctionality(
						mechanismtranslation.NewClient(),
						&offer{forwarder: f},
						vni.NewClient(n.tunnelIP),
						filtermechanisms.NewClient(),
						recvfd.NewClient(),
						sendfd.NewClient(),
					),
					client.WithDialOptions(identity.DialOptions()...),
					client.WithDialTimeout(dialTimeout),
				)),
			),
		).Register
	}, listenOn)
	ctx, cancel := context.WithTimeout(f.Context, patience)
	defer cancel()
	_, err := nseClient.Register(ctx, &registry.NetworkServiceEndpoint{
		Name:                 name,
		NetworkServiceNames:  []string{"forwarder"},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{"forwarder": {Labels: labels}},
		Url:                  listenOn.String(),
	})
	require.NoError(n.t, err)
	return f
}

// spy opens what the client's mechanism says is its network namespace.
type spy struct{ *forwarder }

func (s *spy) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	s.requests.Add(1)
	if s.broken.Load() {
		return nil, errors.New("broken for the test")
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err == nil {
		if err := openable(conn.GetMechanism()); err != nil {
			return nil, err
		}
		s.server.Store(conn.GetMechanism().Clone())
	}
	return conn, err
}

func (s *spy) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.closes.Add(1)
	return next.Server(ctx).Close(ctx, conn)
}

// offer both mechanisms to the next hop, and open what it answers.
type offer struct{ *forwarder }

func (o *offer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	request.MechanismPreferences = append(request.MechanismPreferences,
		&networkservice.Mechanism{Cls: cls.LOCAL, Type: kernelmech.MECHANISM},
		&networkservice.Mechanism{Cls: cls.REMOTE, Type: vxlan.MECHANISM, Parameters: map[string]string{}},
	)
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if err := openable(conn.GetMechanism()); err != nil {
		return nil, err
	}
	o.client.Store(conn.GetMechanism().Clone())
	return conn, nil
}

func (o *offer) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}

func openable(mechanism *networkservice.Mechanism) error {
	u, err := url.Parse(mechanism.GetParameters()[common.InodeURL])
	if err != nil || u.Scheme != "file" {
		return err
	}
	_, err = os.Stat(u.Path)
	return err
}

// nse is an endpoint.
type nse struct {
	*sandbox.Process
	requests, closes atomic.Int32
	registry         registry.NetworkServiceEndpointRegistryClient
	registration     *registry.NetworkServiceEndpoint
}

func (n *node) startNSE(name, prefix string, labels map[string]string) *nse {
	identity := n.authority.Issue(n.t, name)
	_, ipNet, err := net.ParseCIDR(prefix)
	require.NoError(n.t, err)
	e := new(nse)
	listenOn := sandbox.Unix(n.t, "listen.on.sock")
	e.Process = sandbox.Start(n.t, identity, func(ctx context.Context) func(*grpc.Server) {
		e.registry = n.registryClient(ctx, identity)
		return endpoint.NewServer(ctx, identity.Tokens(),
			endpoint.WithName(name),
			endpoint.WithAdditionalFunctionality(
				&nseSpy{e},
				point2pointipam.NewServer(ipNet),
				mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
					kernelmech.MECHANISM: kernel.NewServer(),
				}),
				sendfd.NewServer(),
			),
		).Register
	}, listenOn)
	ctx, cancel := context.WithTimeout(e.Context, patience)
	defer cancel()
	e.registration, err = e.registry.Register(ctx, &registry.NetworkServiceEndpoint{
		Name:                 name,
		NetworkServiceNames:  []string{service},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{service: {Labels: labels}},
		Url:                  listenOn.String(),
	})
	require.NoError(n.t, err)
	return e
}

type nseSpy struct{ *nse }

func (s *nseSpy) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	s.requests.Add(1)
	return next.Server(ctx).Request(ctx, request)
}

func (s *nseSpy) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.closes.Add(1)
	return next.Server(ctx).Close(ctx, conn)
}

// newNSC returns a client that heals, and what ends it.
func (n *node) newNSC(name string) networkservice.NetworkServiceClient {
	identity := n.authority.Issue(n.t, name)
	ctx, cancel := context.WithCancel(context.Background())
	n.t.Cleanup(cancel)
	return client.NewClient(ctx,
		client.WithClientURL(n.unix),
		client.WithName(name),
		client.WithHealClient(heal.NewClient(ctx)),
		client.WithAdditionalFunctionality(
			kernel.NewClient(kernel.WithInterfaceName("nsm-1")),
			sendfd.NewClient(),
		),
		client.WithDialOptions(identity.DialOptions()...),
		client.WithDialTimeout(dialTimeout),
	)
}

func request(id string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Id: id, NetworkService: service, Labels: map[string]string{}},
	}
}

func (n *node) connect(nsc networkservice.NetworkServiceClient, r *networkservice.NetworkServiceRequest) *networkservice.Connection {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := nsc.Request(ctx, r.Clone())
	require.NoError(n.t, err)
	return conn
}

func (n *node) close(nsc networkservice.NetworkServiceClient, conn *networkservice.Connection) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := nsc.Close(ctx, conn.Clone())
	require.NoError(n.t, err)
}

// eventually polls until what holds.
func eventually(t *testing.T, what func() bool, message string) {
	t.Helper()
	require.Eventually(t, what, patience, 10*time.Millisecond, message)
}
