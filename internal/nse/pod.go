// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"context"
	"net/netip"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/inetd"
	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/internal/podmemif"
)

// pod is what the endpoint has for its connections: the memifs, and the services at the
// addresses of the others.
type pod struct {
	memifs podmemif.Connections

	mu sync.Mutex
	// served are the services by address, which several connections may have.
	served map[netip.Addr]*services
	// of are the addresses that are served for a connection.
	of map[string][]netip.Addr
}

type services struct {
	server *inetd.Server
	users  int
}

func newPod(ctx context.Context, c *Config) *pod {
	p := &pod{served: make(map[netip.Addr]*services), of: make(map[string][]netip.Addr)}
	p.memifs.NegotiateOnly = !c.MemifStack
	p.memifs.Started = func(id string, s *netstack.Stack) func() {
		server, err := inetd.Serve(s)
		if err != nil {
			log.FromContext(ctx).Warnf("connection %s has no test services: %v", id, err)
			return func() {}
		}
		return server.Close
	}
	return p
}

func (p *pod) close() {
	p.memifs.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.served {
		s.server.Close()
	}
	clear(p.served)
}

// set serves connection id at these addresses, and no more at others.
func (p *pod) set(ctx context.Context, id string, addrs []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var have []netip.Addr
	for _, a := range addrs {
		s := p.served[a]
		if s == nil {
			server, err := inetd.Serve(inetd.Kernel(a))
			if err != nil {
				log.FromContext(ctx).Warnf("connection %s has no test services at %s: %v", id, a, err)
				continue
			}
			s = &services{server: server}
			p.served[a] = s
		}
		s.users++
		have = append(have, a)
	}
	for _, a := range p.of[id] {
		if s := p.served[a]; s != nil {
			if s.users--; s.users == 0 {
				s.server.Close()
				delete(p.served, a)
			}
		}
	}
	p.of[id] = have
	if len(have) == 0 {
		delete(p.of, id)
	}
}

type servicesServer struct{ pod *pod }

// newServicesServer serves at the endpoint's addresses of each connection.
func (p *pod) newServicesServer() networkservice.NetworkServiceServer {
	return &servicesServer{p}
}

func (s *servicesServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, n := range conn.GetContext().GetIpContext().GetDstIPNets() {
		if a, ok := netip.AddrFromSlice(n.IP); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	s.pod.set(ctx, conn.GetId(), addrs)
	return conn, nil
}

func (s *servicesServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.pod.set(ctx, conn.GetId(), nil)
	return next.Server(ctx).Close(ctx, conn)
}
