// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/nsm-afxdp/forwarder/internal/lab/dot1q"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// vlanNet is a node with the real classifier, and a host behind its uplink that
// is not ours: Linux, whose frames carry a tag.
type vlanNet struct {
	*underlay
	*node
	host       *namespace
	classifier *classifier.Classifier
}

// newVLANNet makes both; the host has the addresses 10.7.0.9 and fd07::9 on the
// VLAN. With id 0 there is no host, and the other end of the uplink is for looking
// and forging.
func newVLANNet(t testing.TB, mtu int, id uint16, fail func(string) error) *vlanNet {
	t.Helper()
	v := &vlanNet{underlay: newUnderlay(t, mtu)}
	v.host = v.nodes[1]
	if id != 0 {
		v.host.access(t, "uplink", id)
		v.host.addr(t, "uplink", "10.7.0.9/24", "fd07::9/64")
	}
	v.begin(t, addrs4[0], fail)
	return v
}

// begin starts the node with a tunnel address.
func (v *vlanNet) begin(t testing.TB, addr netip.Addr, fail func(string) error) {
	t.Helper()
	v.node = startNodeWith(t, v.nodes[0], addr, func(t testing.TB, n *namespace, _ int) *ebpf.Map {
		t.Helper()
		n.do(t, func() (err error) {
			v.classifier, err = classifier.Attach(classifier.Config{Interface: "uplink"})
			return err
		})
		t.Cleanup(func() {
			if err := v.classifier.Close(); err != nil {
				t.Error(err)
			}
		})
		return v.classifier.Sockets()
	}, fail)
}

// access makes an interface an access port of a VLAN.
func (n *namespace) access(t testing.TB, name string, id uint16) {
	t.Helper()
	n.do(t, func() error {
		a, err := dot1q.Attach(name, id)
		if errors.Is(err, ebpf.ErrNotSupported) {
			t.Skip(err)
		}
		if err == nil {
			t.Cleanup(func() {
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		return err
	})
}

// hold has the classifier steer a VLAN.
func (v *vlanNet) hold(t testing.TB, id uint16) {
	t.Helper()
	if err := v.classifier.OpenVLAN(id); err != nil {
		t.Fatal(err)
	}
}

// join puts a pod on a VLAN. Its addresses are 10.7.0.x and fd07::x.
func (v *vlanNet) join(t testing.TB, pod *namespace, id uint16, x int) plane.Link {
	t.Helper()
	link, err := v.Join(t.Context(), &plane.Connection{
		ID: fmt.Sprint("c", x), Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: id},
	})
	if err != nil {
		t.Fatal(err)
	}
	pod.addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", x), fmt.Sprintf("fd07::%d/64", x))
	return link
}

// counters of the connection that join has made with x.
func (v *vlanNet) counters(t testing.TB, x int) (pod, vlan plane.Counters) {
	t.Helper()
	for _, l := range v.Links() {
		if l.ID == fmt.Sprint("c", x) {
			return l.Client.Counters, l.Endpoint.Counters
		}
	}
	t.Fatalf("no connection %d", x)
	return
}

// verdict is how many frames left the classifier for a reason.
func (v *vlanNet) verdict(t testing.TB, name string) uint64 {
	t.Helper()
	all, err := v.classifier.Counters()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Name() == name {
			return c.Packets
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}
