// SPDX-License-Identifier: Apache-2.0

package nsc

import (
	"context"
	"net/netip"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/dnsproxy"
	"github.com/nsm-afxdp/forwarder/internal/resolvconf"
)

// names is a chain element that resolves the names of network services in the pod. As
// long as a connection has name servers, it runs a server for them and the pod's
// resolv.conf names that one.
type names struct {
	address netip.AddrPort
	path    string

	mu    sync.Mutex
	proxy *dnsproxy.Proxy
	file  *resolvconf.Redirection
	// broken is set when the server cannot run here; it is tried once.
	broken bool
}

func newNames(address netip.AddrPort, path string) *names {
	return &names{address: address, path: path}
}

func (n *names) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	n.set(ctx, conn.GetId(), conn.GetContext().GetDnsContext().GetConfigs())
	return conn, nil
}

func (n *names) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	n.set(ctx, conn.GetId(), nil)
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// set gives a connection its name servers. A pod whose names cannot be resolved is
// still connected: what goes wrong is logged.
func (n *names) set(ctx context.Context, id string, configs []*networkservice.DNSConfig) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proxy == nil {
		if len(configs) == 0 || n.broken {
			return
		}
		if err := n.start(); err != nil {
			n.broken = true
			log.FromContext(ctx).Errorf("names of network services will not be resolved: %v", err)
			return
		}
	}
	n.proxy.Set(id, configs)
	var err error
	if n.proxy.Empty() {
		err = n.stop()
	} else {
		err = n.file.Search(n.proxy.Domains())
	}
	if err != nil {
		log.FromContext(ctx).Errorf("resolve names of network services: %v", err)
	}
}

func (n *names) start() error {
	proxy, err := dnsproxy.Listen(n.address)
	if err != nil {
		return err
	}
	file, err := resolvconf.Redirect(n.path, n.address.Addr())
	if err != nil {
		_ = proxy.Close()
		return err
	}
	proxy.Fallback(file.Servers())
	n.proxy, n.file = proxy, file
	return nil
}

func (n *names) stop() error {
	// The file first: nobody should ask a server that is gone.
	err := n.file.Restore()
	_ = n.proxy.Close()
	n.proxy, n.file = nil, nil
	return err
}

// restore puts resolv.conf back, whatever connections there are.
func (n *names) restore() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proxy == nil {
		return nil
	}
	return n.stop()
}
