// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/chains/forwarder"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

const service = "a-service"

// world is a forwarder's chain with everything around it: registry and next hop
// over gRPC, a plane and a classifier that remember what they were asked, and
// two pods.
type world struct {
	forwarder    networkservice.NetworkServiceServer
	hop          *nextHop
	plane        *fakePlane
	classifier   *pinholes
	registryDown atomic.Bool
	pods         [2]string
}

type underlay struct{}

func (underlay) Addr() netip.Addr          { return netip.MustParseAddr("192.0.2.1") }
func (underlay) MTU() int                  { return 1500 }
func (underlay) Fragments(plane.Kind) bool { return true }

func newWorld(t *testing.T, u *way) *world {
	t.Helper()
	w := &world{
		plane:      &fakePlane{joined: map[string]plane.Connection{}},
		classifier: &pinholes{open: map[classifier.Pinhole]int{}, vlans: map[uint16]int{}},
		pods:       [2]string{newPod(t), newPod(t)},
	}
	w.hop = &nextHop{world: w, way: u, open: map[string]bool{}}
	listenOn := w.serveMesh(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	tokens := func(credentials.AuthInfo) (string, time.Time, error) {
		return "token", time.Now().Add(time.Hour), nil
	}
	f, err := forwarder.NewServer(ctx, tokens, w.plane, underlay{},
		forwarder.WithName("forwarder"),
		forwarder.WithConnectTo(listenOn),
		forwarder.WithClassifier(w.classifier),
		forwarder.WithDialOptions(
			grpc.WithTransportCredentials(grpcfd.TransportCredentials(insecure.NewCredentials())),
			grpcfd.WithChainUnaryInterceptor(), grpcfd.WithChainStreamInterceptor(),
		),
	)
	require.NoError(t, err)
	w.forwarder = f
	return w
}

// serveMesh runs the registry and the next hop, on a unix socket as the nsmgr of
// this node does, and on TCP as one of another node.
func (w *world) serveMesh(t *testing.T) *url.URL {
	t.Helper()
	refuse := func() error {
		if w.registryDown.Load() {
			return errors.New("registry is down")
		}
		return nil
	}
	server := grpc.NewServer(grpc.Creds(grpcfd.TransportCredentials(insecure.NewCredentials())), grpc.StreamInterceptor(
		func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if err := refuse(); err != nil {
				return err
			}
			return handle(srv, stream)
		}))
	services, endpoints := memory.NewNetworkServiceRegistryServer(), memory.NewNetworkServiceEndpointRegistryServer()
	registryapi.RegisterNetworkServiceRegistryServer(server, services)
	registryapi.RegisterNetworkServiceEndpointRegistryServer(server, endpoints)
	networkservice.RegisterNetworkServiceServer(server, chain.NewNetworkServiceServer(sendfd.NewServer(), w.hop))

	listenOn := &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "mesh.sock")}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	remote := &url.URL{Scheme: "tcp", Host: "127.0.0.1:0"}
	for _, u := range []*url.URL{listenOn, remote} {
		failed := grpcutils.ListenAndServe(ctx, u, server)
		t.Cleanup(func() {
			cancel()
			server.Stop()
			for range failed { // until it has ended
			}
		})
	}
	hop := listenOn
	if w.hop.way.remote {
		hop = remote
	}
	_, err := services.Register(ctx, &registryapi.NetworkService{Name: service, Payload: w.hop.way.payload})
	require.NoError(t, err)
	_, err = endpoints.Register(ctx, &registryapi.NetworkServiceEndpoint{
		Name: "endpoint", NetworkServiceNames: []string{service}, Url: hop.String(),
	})
	require.NoError(t, err)
	return listenOn
}

// repair ends every failure.
func (w *world) repair() {
	w.registryDown.Store(false)
	w.hop.change, w.hop.stall = nil, false
	w.classifier.fail = nil
	w.plane.fail, w.plane.makeNothing = nil, false
}

func (w *world) requireNothing(t *testing.T) {
	t.Helper()
	require.Empty(t, w.plane.joined, "connections that the plane has joined")
	require.Empty(t, w.classifier.open, "pinholes")
	require.Empty(t, w.classifier.vlans, "VLAN ids")
	// A hop that answered too late is told to close after the request.
	require.Eventually(t, func() bool { return w.hop.connections() == 0 }, 20*time.Second, 10*time.Millisecond,
		"connections of the next hop")
	for _, pod := range w.pods {
		require.Empty(t, interfaces(t, pod))
	}
}

func (w *world) requireConnected(t *testing.T, u *way) {
	t.Helper()
	require.Len(t, w.plane.joined, 1)
	require.Equal(t, 1, w.hop.connections())
	opened := map[string]int{}
	for _, references := range w.classifier.open {
		opened[pinhole] += references
	}
	for _, references := range w.classifier.vlans {
		opened[vlanID] += references
	}
	want := map[string]int{}
	if u.opens != nothing {
		want[u.opens] = 1
	}
	require.Equal(t, want, opened)
}

func interfaces(t *testing.T, pod string) []string {
	t.Helper()
	var names []string
	require.NoError(t, netns.Do(pod, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if l.Attrs().Name != "lo" {
				names = append(names, l.Attrs().Name)
			}
		}
		return err
	}))
	return names
}

// nextHop stands for what is behind the forwarder: nsmgr, another forwarder,
// endpoint.
type nextHop struct {
	world *world
	way   *way
	// change spoils the answer; stall keeps the caller waiting for it.
	change func(*networkservice.Connection) error
	stall  bool

	mu   sync.Mutex
	open map[string]bool
}

func (h *nextHop) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if h.stall {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	conn := request.GetConnection().Clone()
	if conn.GetMechanism() == nil {
		conn.Mechanism = h.way.answer(h.world, request.GetMechanismPreferences())
	}
	if conn.GetMechanism() == nil {
		return nil, fmt.Errorf("no offer suits among %v", request.GetMechanismPreferences())
	}
	if conn.GetContext() == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	conn.GetContext().IpContext = &networkservice.IPContext{
		SrcIpAddrs: []string{"172.16.1.101/32"}, DstIpAddrs: []string{"172.16.1.100/32"},
	}
	if h.change != nil {
		if err := h.change(conn); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[conn.GetPath().GetPathSegments()[0].GetId()] = true
	return conn, nil
}

func (h *nextHop) Close(_ context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, conn.GetPath().GetPathSegments()[0].GetId())
	return &emptypb.Empty{}, nil
}

func (h *nextHop) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.open)
}

// pinholes counts references, as the classifier does.
type pinholes struct {
	open  map[classifier.Pinhole]int
	vlans map[uint16]int
	fail  error
}

func (r *pinholes) OpenVLAN(id uint16) error {
	if r.fail != nil {
		return r.fail
	}
	r.vlans[id]++
	return nil
}

func (r *pinholes) CloseVLAN(id uint16) error {
	if r.vlans[id] == 0 {
		return fmt.Errorf("VLAN %d is not held", id)
	}
	if r.vlans[id]--; r.vlans[id] == 0 {
		delete(r.vlans, id)
	}
	return nil
}

func (r *pinholes) Open(p classifier.Pinhole) error {
	if r.fail != nil {
		return r.fail
	}
	r.open[p]++
	return nil
}

func (r *pinholes) ClosePinhole(p classifier.Pinhole) error {
	if r.open[p] == 0 {
		return fmt.Errorf("%s is not open", p)
	}
	if r.open[p]--; r.open[p] == 0 {
		delete(r.open, p)
	}
	return nil
}

// fakePlane makes the interfaces in pods, without anything behind them.
type fakePlane struct {
	joined      map[string]plane.Connection
	fail        error
	makeNothing bool
}

func (*fakePlane) Kinds(payload plane.Payload) []plane.Kind {
	if payload == plane.Ethernet {
		return []plane.Kind{plane.KindMemif, plane.KindKernel, plane.KindVXLAN, plane.KindVLAN}
	}
	return []plane.Kind{plane.KindMemif, plane.KindKernel, plane.KindWireGuard}
}

func (p *fakePlane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	if p.fail != nil {
		return plane.Link{}, p.fail
	}
	_, again := p.joined[c.ID]
	p.joined[c.ID] = *c
	if !p.makeNothing && !again {
		for _, port := range []plane.Port{c.Client, c.Endpoint} {
			if k, ok := port.(plane.Kernel); ok {
				if err := inPod(k, func() error {
					return netlink.LinkAdd(&netlink.Tuntap{
						LinkAttrs: netlink.LinkAttrs{Name: k.Name}, Mode: netlink.TUNTAP_MODE_TAP,
					})
				}); err != nil {
					return plane.Link{}, errors.Join(err, p.Leave(ctx, c.ID))
				}
			}
		}
	}
	return plane.Link{
		ID: c.ID, Payload: c.Payload, MTU: c.MTU,
		Client: plane.PortStatus{Port: c.Client}, Endpoint: plane.PortStatus{Port: c.Endpoint},
	}, nil
}

func (p *fakePlane) Leave(_ context.Context, id string) error {
	c := p.joined[id]
	delete(p.joined, id)
	var errs []error
	for _, port := range []plane.Port{c.Client, c.Endpoint} {
		if k, ok := port.(plane.Kernel); ok {
			errs = append(errs, inPod(k, func() error {
				l, err := netlink.LinkByName(k.Name)
				if err != nil {
					return nil
				}
				return netlink.LinkDel(l)
			}))
		}
	}
	return errors.Join(errs...)
}

func inPod(k plane.Kernel, f func() error) error { return netns.Do(k.NetNS, f) }

func (*fakePlane) Links() []plane.Link { return nil }
func (*fakePlane) Close() error        { return nil }
