// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tally"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
)

// vlanPort joins a pod to a VLAN: to the hosts behind the uplink whose frames
// carry the tag, and to other pods of this node on the same VLAN (vlan_domain.go).
// The way of a frame from the pod is in vlan_send.go, of one to it in
// vlan_receive.go.
//
// The tag is the outermost one on the device, as the classifier has it, also if
// the uplink is a VLAN interface of Linux on that device.
type vlanPort struct {
	plane    *Plane
	port     plane.VLAN
	assigned mac // that the pod's interface was made with; zero if we did not make it
	limit    int // of a frame, in bytes from its Ethernet header on, without the tag
	inlet    inlet
	vlan     *vlan // set by connect
	peer     sink  // what comes from the VLAN goes there; set by connect

	// unknown is how many addresses the pod may have that the VLAN's stations do
	// not tell of. As long as there are some, it gets what goes to nobody known.
	unknown atomic.Int32
	full    atomic.Bool // no more addresses are learned
	heard   chan mac    // sources to be learned
	learned int         // how many were; guarded by Plane.tables

	stop    chan struct{} // ends the goroutine that learns; nil unless connected
	running sync.WaitGroup

	counters []tally.Counters // by worker
	caches   []vlanCache      // by worker
}

// vlanCache is what a worker remembers of the last frame that the pod sent.
type vlanCache struct {
	stations *stations // in which source and to were found
	source   mac
	to       mac
	at       *vlanPort // that has to; nil for none here
	answers  tun.Answers
	_        [64]byte
}

func newVLAN(p *Plane, c *plane.Connection, port plane.VLAN) (end, error) {
	if err := p.checkVLAN(c.Payload, port); err != nil {
		return nil, fmt.Errorf("%s: %w", port, err)
	}
	v := &vlanPort{
		plane: p, port: port, limit: p.mtu + packet.EthernetLen,
		heard:    make(chan mac, maxLearned),
		counters: make([]tally.Counters, len(p.workers)),
		caches:   make([]vlanCache, len(p.workers)),
	}
	v.inlet.port = v
	for _, other := range []plane.Port{c.Client, c.Endpoint} {
		if k, ok := other.(plane.Kernel); ok {
			v.assigned = mac(podif.MAC(c.ID, k))
		}
	}
	return v, nil
}

// checkVLAN finds out whether a connection can have this end, and whether the
// node's own network could do without the VLAN.
func (p *Plane) checkVLAN(payload plane.Payload, v plane.VLAN) error {
	switch {
	case payload != plane.Ethernet:
		return fmt.Errorf("a VLAN carries Ethernet frames, not payload %q: %w", payload, plane.ErrUnsupported)
	case v.ID < 1 || v.ID > 4094:
		return fmt.Errorf("the id is not between 1 and 4094")
	case v.Uplink != "" && v.Uplink != p.uplink.Name():
		return fmt.Errorf("this node's frames pass %s, not %s: %w", p.uplink.Name(), v.Uplink, plane.ErrUnsupported)
	case slices.Index(p.uplink.VLAN(), v.ID) == 0:
		return fmt.Errorf("the node's own uplink %s is that VLAN", p.uplink.LinkName())
	}
	if err := p.fault("uplink"); err != nil {
		return err
	}
	name, err := p.uplink.VLANInterface(v.ID)
	if err != nil {
		return err
	}
	if name != "" {
		return fmt.Errorf("interface %s of the node is that VLAN: remove it, or choose another id", name)
	}
	return p.tagged.receive()
}

// tagged is whether the uplink delivers tagged frames.
type tagged struct {
	prepare func() error // may be nil

	mu   sync.Mutex
	done bool
}

// receive has it do so.
func (t *tagged) receive() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || t.prepare == nil {
		return nil
	}
	if err := t.prepare(); err != nil {
		return fmt.Errorf("have the uplink deliver tagged frames: %w", err)
	}
	t.done = true
	return nil
}

func (v *vlanPort) connect(_ context.Context, other end) error {
	peer, ok := other.(pod)
	if !ok {
		return fmt.Errorf("%s can be joined to an interface in a pod only: %w", v.port, plane.ErrUnsupported)
	}
	if err := v.plane.fault("tunnel"); err != nil {
		return err
	}
	v.peer = peer
	v.stop = make(chan struct{})
	v.plane.joinVLAN(v)
	v.running.Go(v.learn)
	return nil
}

func (v *vlanPort) disconnect() {
	if v.stop == nil {
		return
	}
	v.full.Store(true) // nothing is heard any more
	close(v.stop)
	v.running.Wait()
	v.stop = nil
	v.plane.leaveVLAN(v)
	v.plane.settle()
	v.vlan.unknown.Add(-v.unknown.Load())
}

func (*vlanPort) close() error { return nil }

func (v *vlanPort) count() plane.Counters { return tally.Sum(v.counters) }
