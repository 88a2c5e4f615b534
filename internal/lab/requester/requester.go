// SPDX-License-Identifier: Apache-2.0

// Package requester asks an nsmgr of a lab for connections as clients in many
// pods would, from this one process: for tests and benchmarks that need more
// connections than processes would fit on the machine.
package requester

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/heal"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/retry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/upstreamrefresh"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/service"
)

// Requester is the chain of cmd/nsc, without a check of the data plane: calls are
// repeated until they succeed. Its methods are safe for concurrent use.
type Requester struct {
	client  networkservice.NetworkServiceClient
	pods    []*Pod
	node    *lab.Node
	cancel  context.CancelFunc
	release func() error
}

// New is a requester of that name on a node.
func New(n *lab.Node, name string, maxTokenLifetime time.Duration) (*Requester, error) {
	socket, err := n.Identity(name)
	if err != nil {
		return nil, err
	}
	connectTo, err := url.Parse(n.NSMgrURL())
	if err != nil {
		return nil, err
	}
	// What the chain logs is told by the errors of its calls, too.
	ctx, cancel := context.WithCancel(log.WithLog(context.Background(), log.Empty()))
	identity, err := service.NewIdentityFrom(ctx, socket, maxTokenLifetime)
	if err != nil {
		cancel()
		return nil, err
	}
	return &Requester{
		node: n, cancel: cancel, release: identity.Close,
		client: retry.NewClient(client.NewClient(ctx,
			client.WithName(name),
			client.WithClientURL(connectTo),
			client.WithDialTimeout(5*time.Second),
			client.WithDialOptions(identity.DialOptions()...),
			client.WithAuthorizeClient(authorize.NewClient()),
			client.WithHealClient(heal.NewClient(ctx)),
			client.WithAdditionalFunctionality(clientinfo.NewClient(), upstreamrefresh.NewClient(ctx), sendfd.NewClient()),
		), retry.WithTryTimeout(tryTimeout)),
	}, nil
}

// Close ends refreshing and healing, and the processes of the pods. Connections
// that were not closed stay until they time out.
func (r *Requester) Close() error {
	r.cancel()
	for _, p := range r.pods {
		p.tenant.Kill()
	}
	return r.release()
}

// Pod is a pod on the requester's node in which nothing runs but a process that
// keeps it alive, as the pause container does.
type Pod struct {
	*lab.Namespace
	tenant *lab.Tool
}

// Pod makes a pod. It is not safe for concurrent use.
func (r *Requester) Pod(name string) (*Pod, error) {
	ns, err := r.node.Pod(name)
	if err != nil {
		return nil, err
	}
	tenant, err := lab.Background(ns.Path, "sleep", "infinity")
	if err != nil {
		return nil, err
	}
	p := &Pod{Namespace: ns, tenant: tenant}
	r.pods = append(r.pods, p)
	return p, nil
}

// Kernel is a request for an interface of that name in the pod.
func (p *Pod) Kernel(id, networkService, ifName string) *networkservice.NetworkServiceRequest {
	m := kernel.New("file://" + p.Path)
	kernel.ToMechanism(m).SetInterfaceName(ifName)
	return &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: id, NetworkService: networkService},
		MechanismPreferences: []*networkservice.Mechanism{m},
	}
}

const (
	// tryTimeout is for one try of a call. It must be short of a token's lifetime: hops
	// give a connection up so much before its token ends.
	tryTimeout = 15 * time.Second
	// timeout is for all tries.
	timeout = time.Minute
)

// Request makes a connection, or refreshes it, and returns how long that took.
func (r *Requester) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	started := time.Now()
	conn, err := r.client.Request(log.WithLog(ctx, log.Empty()), request)
	if err != nil {
		return nil, 0, fmt.Errorf("request connection %s to %s: %w", request.GetConnection().GetId(), request.GetConnection().GetNetworkService(), err)
	}
	return conn, time.Since(started), nil
}

// Addresses are the first ones of the connection's two ends.
func Addresses(conn *networkservice.Connection) (client, endpoint netip.Addr, err error) {
	ip := conn.GetContext().GetIpContext()
	both := [2]netip.Addr{}
	for i, addrs := range [2][]string{ip.GetSrcIpAddrs(), ip.GetDstIpAddrs()} {
		if len(addrs) == 0 {
			return netip.Addr{}, netip.Addr{}, fmt.Errorf("connection %s has no addresses", conn.GetId())
		}
		p, err := netip.ParsePrefix(addrs[0])
		if err != nil {
			return netip.Addr{}, netip.Addr{}, fmt.Errorf("connection %s: %w", conn.GetId(), err)
		}
		both[i] = p.Addr()
	}
	return both[0], both[1], nil
}

// Release closes a connection and returns how long that took.
func (r *Requester) Release(ctx context.Context, conn *networkservice.Connection) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	started := time.Now()
	if _, err := r.client.Close(log.WithLog(ctx, log.Empty()), conn.Clone()); err != nil {
		return 0, fmt.Errorf("close connection %s: %w", conn.GetId(), err)
	}
	return time.Since(started), nil
}
