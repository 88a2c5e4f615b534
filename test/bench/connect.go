// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/heal"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/upstreamrefresh"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/service"
)

// connector asks the near nsmgr for connections, as a client in a pod of the
// near node would, but from this process.
type connector struct {
	client networkservice.NetworkServiceClient
	pod    *lab.Namespace
	made   int
}

const connectTimeout = 10 * time.Second

func newConnector(ctx context.Context, m *mesh) (_ *connector, stop func() error, err error) {
	near := m.lab.Nodes[0]
	pod, err := near.Pod("connector")
	if err != nil {
		return nil, nil, err
	}
	socket, err := near.Identity("connector")
	if err != nil {
		return nil, nil, err
	}
	if err := os.Setenv(workloadapi.SocketEnv, socket); err != nil {
		return nil, nil, err
	}
	logging, err := service.Logging(ctx, "connector", "ERROR")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(logging)
	identity, err := service.NewIdentity(ctx, 10*time.Minute)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	connectTo, err := url.Parse(near.NSMgrURL())
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return &connector{
			pod: pod,
			client: client.NewClient(ctx,
				client.WithName("connector"),
				client.WithClientURL(connectTo),
				client.WithDialTimeout(5*time.Second),
				client.WithDialOptions(identity.DialOptions()...),
				client.WithAuthorizeClient(authorize.NewClient()),
				client.WithHealClient(heal.NewClient(ctx)),
				client.WithAdditionalFunctionality(clientinfo.NewClient(), upstreamrefresh.NewClient(ctx), sendfd.NewClient()),
			),
		}, func() error {
			cancel()
			return identity.Close()
		}, nil
}

// measure makes connections to the service one after the other, refreshes each
// once and closes it, and returns how long that takes.
func (c *connector) measure(ctx context.Context, networkService string, count int) (values, error) {
	var request, refresh, closing []time.Duration
	for range count {
		c.made++
		r := &networkservice.NetworkServiceRequest{
			Connection:           &networkservice.Connection{Id: fmt.Sprintf("connector-%d", c.made), NetworkService: networkService},
			MechanismPreferences: []*networkservice.Mechanism{c.mechanism()},
		}
		conn, took, err := c.request(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("request connection %d to %s: %w", c.made, networkService, err)
		}
		request = append(request, took)
		r.Connection = conn.Clone()
		if conn, took, err = c.request(ctx, r); err != nil {
			return nil, fmt.Errorf("refresh connection %d to %s: %w", c.made, networkService, err)
		}
		refresh = append(refresh, took)
		started := time.Now()
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		_, err = c.client.Close(ctx, conn.Clone())
		cancel()
		if err != nil {
			return nil, fmt.Errorf("close connection %d to %s: %w", c.made, networkService, err)
		}
		closing = append(closing, time.Since(started))
	}
	all := values{"connections": float64(count)}
	for name, samples := range map[string][]time.Duration{"request": request, "refresh": refresh, "close": closing} {
		all[name+" p50 ms"] = 1e3 * percentile(samples, 50)
		all[name+" p99 ms"] = 1e3 * percentile(samples, 99)
	}
	return all, nil
}

func (c *connector) request(ctx context.Context, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	started := time.Now()
	conn, err := c.client.Request(ctx, r)
	return conn, time.Since(started), err
}

// mechanism is an interface with a name of its own in the connector's pod.
func (c *connector) mechanism() *networkservice.Mechanism {
	m := kernel.New("file://" + c.pod.Path)
	kernel.ToMechanism(m).SetInterfaceName(fmt.Sprintf("nsm-%d", c.made))
	return m
}
