// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/lab/requester"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

const (
	churned     = 500
	churnTime   = 3 * time.Minute
	churnAtOnce = 10
	// standing connections count their packets while the others come and go.
	standing = 10
)

// offer is what an endpoint of the churn offers: several use cases can share it, because
// it does not see how its clients are attached.
type offer struct {
	endpoint plane.Kind
	payload  plane.Payload
	ipv6     bool
	local    bool
}

func offerOf(c *usecase.Case) offer { return offer{c.Endpoint, c.Payload, c.IPv6(), c.Local()} }

func (o offer) service() string {
	name := fmt.Sprintf("churn-%s-%s", o.endpoint, o.payload)
	if o.ipv6 {
		name += "-v6"
	}
	if o.local {
		name += "-local"
	}
	return strings.ToLower(name)
}

// churn is what the connections are made of.
type churn struct {
	lab       *lab.Lab
	requester *requester.Requester
	cases     []*usecase.Case
	endpoints map[offer]*lab.Endpoint
	// onVLANs are clients of cases whose service is a VLAN; they stay.
	onVLANs []*lab.Linked
	pods    []*requester.Pod
	made    atomic.Int64
}

// TestMixedChurn makes and closes connections of all use cases at random, while some stay
// and count every packet.
func TestMixedChurn(t *testing.T) {
	t.Parallel()
	started := time.Now()
	l := newLab(t, lab.Config{Switch: true, Planes: [2]string{"embedded", "embedded"}})
	ctx := within(t, churnTime+4*time.Minute)
	require.NoError(t, l.StartRegistry(ctx))
	for _, n := range l.Nodes {
		require.NoError(t, n.StartNSMgr(ctx))
		require.NoError(t, n.StartForwarder(ctx, map[string]string{
			"NSM_PPROF_ENABLED": "true", "NSM_PPROF_LISTEN_ON": profiles,
		}))
	}
	c := newChurn(t, l)
	streams := c.stand(t)
	// Some of each before the measurement let every pool and cache fill.
	require.NoError(t, c.run(ctx, 60, 0))
	c.requireOnly(t, len(streams)+len(c.onVLANs))
	before, files := footprints(t, l), c.files(t)

	t.Logf("churn begins after %.0f s", time.Since(started).Seconds())
	started = time.Now()
	require.NoError(t, c.run(ctx, churned, churnTime))
	t.Logf("%d connections of %d use cases made and closed in %.0f s", churned, len(c.cases), time.Since(started).Seconds())

	c.requireOnly(t, len(streams)+len(c.onVLANs))
	// Tunnels in use hold more or fewer buffers of 64 KiB from one moment to the next.
	requireNoGrowth(t, l, before, 4<<20)
	c.requireNoMoreFiles(t, files)
	var packets uint32
	for _, s := range streams {
		sent, err := s.finish()
		assert.NoError(t, err)
		packets += sent
	}
	t.Logf("%d standing connections lost none of %d packets", len(streams), packets)
}

func newChurn(t *testing.T, l *lab.Lab) *churn {
	t.Helper()
	r, err := requester.New(l.Nodes[0], "churn", l.MaxTokenLifetime)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	c := &churn{lab: l, requester: r, endpoints: make(map[offer]*lab.Endpoint)}
	ctx := within(t, time.Minute)
	for i := range usecase.Table {
		u := &usecase.Table[i]
		if u.VLAN == 0 {
			c.startEndpoint(ctx, t, offerOf(u))
		} else if !c.startVLAN(ctx, t, u) {
			continue
		}
		c.cases = append(c.cases, u)
	}
	for i := range churnAtOnce {
		pod, err := r.Pod(fmt.Sprintf("churn-%d", i))
		require.NoError(t, err)
		c.pods = append(c.pods, pod)
	}
	return c
}

// startEndpoint runs the endpoint of an offer, unless it runs.
func (c *churn) startEndpoint(ctx context.Context, t *testing.T, o offer) {
	t.Helper()
	if c.endpoints[o] != nil {
		return
	}
	number := len(c.endpoints)
	cidr := fmt.Sprintf("172.18.%d.0/24", number)
	if o.ipv6 {
		cidr = fmt.Sprintf("2001:db8:%d::/112", number)
	}
	node := c.lab.Nodes[1]
	if o.local {
		node = c.lab.Nodes[0]
	}
	nse, err := node.StartEndpoint(ctx, o.service(), lab.Service{Name: o.service(), Payload: string(o.payload), CIDR: cidr},
		map[string]string{"NSM_MECHANISM": strings.ToLower(string(o.endpoint))})
	require.NoError(t, err)
	c.endpoints[o] = nse
}

// startVLAN connects a host to a use case's VLAN, and a client to both. It reports whether
// this machine can do that.
func (c *churn) startVLAN(ctx context.Context, t *testing.T, u *usecase.Case) bool {
	t.Helper()
	k, err := c.lab.Link(ctx, u, lab.Calm())
	if errors.Is(err, ebpf.ErrNotSupported) {
		t.Logf("without %s: %v", u.Name, err)
		return false
	}
	require.NoError(t, err)
	require.NoError(t, k.Client.AwaitConnected(ctx))
	stop, err := echo(k.Host.Namespace, echoPort)
	require.NoError(t, err)
	t.Cleanup(stop)
	c.onVLANs = append(c.onVLANs, k)
	return true
}

// request is for a connection of a use case in a pod.
func (c *churn) request(u *usecase.Case, pod *requester.Pod) *networkservice.NetworkServiceRequest {
	n := c.made.Add(1)
	id, name := fmt.Sprintf("churn-%d", n), fmt.Sprintf("nsm-%d", n)
	service := offerOf(u).service()
	if u.VLAN != 0 {
		service = u.Service
	}
	if u.Client == plane.KindMemif {
		return pod.Memif(id, service, name)
	}
	return pod.Kernel(id, service, name)
}

// dial is a socket from a connection's client to whoever sends packets back.
func dial(ctx context.Context, u *usecase.Case, pod *requester.Pod, conn *networkservice.Connection) (net.Conn, error) {
	to := u.EndpointAddr()
	if u.VLAN == 0 {
		var err error
		if _, to, err = requester.Addresses(conn); err != nil {
			return nil, err
		}
	}
	return pod.Dial(ctx, conn, netip.AddrPortFrom(to, echoPort))
}

// stand makes the connections that stay.
func (c *churn) stand(t *testing.T) (streams []*stream) {
	t.Helper()
	ctx := within(t, time.Minute)
	for i := range standing {
		u := c.cases[i*len(c.cases)/standing]
		pod, err := c.requester.Pod(fmt.Sprintf("standing-%d", i))
		require.NoError(t, err)
		conn, _, err := c.requester.Request(ctx, c.request(u, pod))
		require.NoError(t, err)
		udp, err := dial(ctx, u, pod, conn)
		require.NoError(t, err)
		s, err := startStream(fmt.Sprintf("standing connection %d, %s", i, u.Name), udp)
		require.NoError(t, err)
		streams = append(streams, s)
	}
	return streams
}

// run makes and closes count connections, spread over a time, some at once.
func (c *churn) run(ctx context.Context, count int, d time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	each := count / churnAtOnce
	turn := d / time.Duration(each)
	for _, pod := range c.pods {
		group.Go(func() error {
			started := time.Now()
			for n := range each {
				begin := time.Duration(n)*turn + fraction(turn)/2
				if err := sleepUntil(ctx, started.Add(begin)); err != nil {
					return err
				}
				if err := c.once(ctx, c.cases[rand.IntN(len(c.cases))], pod, fraction(turn)/2); err != nil {
					return err
				}
			}
			return sleepUntil(ctx, started.Add(d))
		})
	}
	return group.Wait()
}

// once makes a connection, has a packet go through it and come back, and closes it after
// a time.
func (c *churn) once(ctx context.Context, u *usecase.Case, pod *requester.Pod, d time.Duration) error {
	conn, _, err := c.requester.Request(ctx, c.request(u, pod))
	if err != nil {
		return fmt.Errorf("%s: %w", u.Name, err)
	}
	udp, err := dial(ctx, u, pod, conn)
	if err != nil {
		return fmt.Errorf("%s: %w", u.Name, err)
	}
	if err := errors.Join(awaitEcho(udp), udp.Close()); err != nil {
		return fmt.Errorf("%s: %w", u.Name, err)
	}
	if err := sleepUntil(ctx, time.Now().Add(d)); err != nil {
		return err
	}
	if _, err := c.requester.Release(ctx, conn); err != nil {
		return fmt.Errorf("%s: %w", u.Name, err)
	}
	return nil
}

// fraction of a time, at random.
func fraction(d time.Duration) time.Duration { return time.Duration(rand.Float64() * float64(d)) }

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(at)):
		return nil
	}
}

// requireOnly checks that no more than the standing connections are there.
func (c *churn) requireOnly(t *testing.T, count int) {
	t.Helper()
	eventually(t, 5*time.Second, "interfaces in pods are gone", func() bool {
		for _, pod := range c.pods {
			if len(links(t, pod.Namespace)) > 0 {
				return false
			}
		}
		return true
	})
	require.Len(t, statusOf(t, c.lab.Nodes[0]).Links, count)
}

// files are how many each of the other programs has open.
func (c *churn) files(t *testing.T) map[string]int {
	t.Helper()
	open := make(map[string]int)
	for _, p := range c.lab.Processes() {
		if p == c.lab.Nodes[0].Forwarder || p == c.lab.Nodes[1].Forwarder {
			continue
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
		require.NoError(t, err)
		open[p.Log] = len(fds)
	}
	return open
}

// requireNoMoreFiles waits until the other programs have no more files open than before,
// but for connections of the control plane that come and go.
func (c *churn) requireNoMoreFiles(t *testing.T, before map[string]int) {
	t.Helper()
	const slack = 16
	eventually(t, 20*time.Second, fmt.Sprintf("programs close their files, before %v", before), func() bool {
		for log, n := range c.files(t) {
			if n > before[log]+slack {
				return false
			}
		}
		return true
	})
}
