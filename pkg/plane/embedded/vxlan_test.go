// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"testing"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Linux takes our fragments, and we take Linux's.
func TestKernelVXLANPeerInFragments(t *testing.T) {
	u := newUnderlay(t, 1280)
	pod := newNamespace(t)
	n := startNodeWith(t, u.nodes[0], addrs4[0], attachFragments, nil)
	u.kernelVXLAN(t, 1, 42, addrs4, "fd07::2/64")
	if err := u.nodes[1].handle.LinkSetMTU(u.nodes[1].link(t, "vxlan"), plane.MinMTU6); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, MTU: plane.MinMTU6, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 42, addrs4),
	}); err != nil {
		t.Fatal(err)
	}
	pod.addr(t, "nsm-1", "fd07::1/64")
	pod.ping(t, "fd07::2")
	conn := pod.dialUDP(t, u.nodes[1].echo(t, "fd07::2"), false)
	for range 10 {
		if err := roundTrip(conn, pattern[:plane.MinMTU6-48]); err != nil {
			t.Fatal(err)
		}
	}
}

// A pod behind our plane and a kernel VXLAN device reach each other.
func TestKernelVXLANPeer(t *testing.T) {
	u := newUnderlay(t, 1500)
	pod := newNamespace(t)
	n := u.start(t, 0, addrs4, nil)
	u.kernelVXLAN(t, 1, 42, addrs4, "10.7.0.2/24", "fd07::2/64")
	link, err := n.Join(context.Background(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 42, addrs4),
	})
	if err != nil {
		t.Fatal(err)
	}
	if link.MTU != 1450 {
		t.Errorf("MTU %d, want 1450", link.MTU)
	}
	pod.addr(t, "nsm-1", "10.7.0.1/24", "fd07::1/64")
	pod.ping(t, "10.7.0.2")
	pod.ping(t, "fd07::2")
}
