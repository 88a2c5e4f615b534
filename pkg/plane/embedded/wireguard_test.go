// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"crypto/ecdh"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// keys of the two nodes, private and public.
var keys = func() (k [2]struct{ private, public plane.Key }) {
	for i := range k {
		var seed [32]byte
		for j := range seed {
			seed[j] = byte(i*100 + j + 1)
		}
		private, err := ecdh.X25519().NewPrivateKey(seed[:])
		if err != nil {
			panic(err)
		}
		k[i].private = plane.Key(seed)
		k[i].public = plane.Key(private.PublicKey().Bytes())
	}
	return k
}()

// guard is node i's end of a WireGuard tunnel.
func guard(i int, addrs [2]netip.Addr, initiator bool) plane.WireGuard {
	return plane.WireGuard{
		Local: netip.AddrPortFrom(addrs[i], 51820), Remote: netip.AddrPortFrom(addrs[1-i], 51820),
		PrivateKey: keys[i].private, PeerKey: keys[1-i].public, Initiator: initiator,
	}
}

func TestWireGuard(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs [2]netip.Addr
		mtu   int
	}{{"IPv4 underlay", addrs4, 1440}, {"IPv6 underlay", addrs6, 1420}} {
		t.Run(c.name, func(t *testing.T) {
			u := newUnderlay(t, 1500)
			nodes := [2]*node{u.start(t, 0, c.addrs, nil), u.start(t, 1, c.addrs, nil)}
			pods := u.guarded(t, nodes, c.addrs, c.mtu)
			pods[0].ping(t, "10.7.0.2")
			pods[1].ping(t, "fd07::1")
			size := int64(64 << 20)
			if testing.Short() {
				size = 8 << 20
			}
			stream(t, pods[0], pods[1], "10.7.0.2", size)
			stream(t, pods[1], pods[0], "fd07::1", size)
			for i, n := range nodes {
				l := n.Links()[0]
				if e := l.Endpoint.Counters; e.RxBytes < uint64(size) || e.TxBytes < uint64(size) {
					t.Errorf("node %d: endpoint counted %+v", i, e)
				}
				if c := l.Client.Counters; c.RxBytes < uint64(size)*9/10 || c.TxBytes < uint64(size)*9/10 {
					t.Errorf("node %d: client counted %+v", i, c)
				}
			}
		})
	}
}

// guarded joins a pod on each node by WireGuard.
func (u *underlay) guarded(t testing.TB, nodes [2]*node, addrs [2]netip.Addr, mtu int) [2]*namespace {
	t.Helper()
	var pods [2]*namespace
	for _, i := range []int{1, 0} { // whoever initiates comes last
		pods[i] = newNamespace(t)
		link, err := nodes[i].Join(t.Context(), &plane.Connection{
			ID: fmt.Sprint("pod-", i), Payload: plane.IP,
			Client: pods[i].port(t, "nsm-1"), Endpoint: guard(i, addrs, i == 0),
		})
		if err != nil {
			t.Fatal(err)
		}
		if link.MTU != mtu {
			t.Errorf("MTU %d, want %d", link.MTU, mtu)
		}
		pods[i].addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
	}
	return pods
}

func TestWireGuardWithoutPeer(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	fds := descriptors(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := n.Join(ctx, &plane.Connection{
		ID: "c1", Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: guard(0, addrs4, true),
	})
	if err == nil || !strings.Contains(err.Error(), "handshake") {
		t.Errorf("error %v", err)
	}
	n.pristine(t, fds, pod)
}
