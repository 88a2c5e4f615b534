// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/veth"
)

// portKind is a kind of port that can be made, if the kernel has what it takes.
type portKind struct {
	kind    plane.Kind
	payload plane.Payload // empty for any
	// probe finds out whether the kernel has it, without making anything.
	probe func(*netlink.Handle) error
}

// portKinds are all, best first.
var portKinds = []portKind{
	// Whatever runs containers has veth, and a probe would make a pair.
	{plane.KindKernel, "", func(*netlink.Handle) error { return nil }},
	{plane.KindVXLAN, plane.Ethernet, probeType("vxlan")},
	{plane.KindWireGuard, plane.IP, probeWireGuard},
	{plane.KindVLAN, plane.Ethernet, probeType("vlan")},
}

// probeType asks for a device without parameters. A type that Linux knows, or can
// load a module for, misses them.
func probeType(name string) func(*netlink.Handle) error {
	return func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "/" // lest one be made after all
		err := h.LinkAdd(&netlink.GenericLink{LinkAttrs: attrs, LinkType: name})
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("this kernel has no %s devices, nor a module for them: %w", name, plane.ErrUnsupported)
		}
		return nil
	}
}

// probeWireGuard asks for Linux's own, or for what wireguard-go needs.
func probeWireGuard(h *netlink.Handle) error {
	if probeType("wireguard")(h) == nil {
		return nil
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("TUN devices: %w", err)
	}
	return nil
}

// open makes the way between the ports of a connection.
func (p *Plane) open(ctx context.Context, l *link, c *plane.Connection) (way, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var pods []plane.Kernel
	var tunnel plane.Port
	for _, port := range []plane.Port{c.Client, c.Endpoint} {
		switch port := port.(type) {
		case nil:
			return nil, errors.New("port is missing")
		case plane.Kernel:
			pods = append(pods, port)
		case plane.Memif:
			return nil, fmt.Errorf("%s: memif is shared memory between processes, which Linux has no device for: "+
				"ask for the kernel mechanism, or set NSM_FORWARDING_PLANE=embedded on this node: %w", port, plane.ErrUnsupported)
		default:
			tunnel = port
		}
	}
	for _, pod := range pods {
		if err := p.claimInterface(l, c.ID, pod); err != nil {
			return nil, err
		}
	}
	switch len(pods) {
	case 0:
		return nil, fmt.Errorf("the kernel plane joins a tunnel to a kernel interface, not %s to %s: %w", c.Client, c.Endpoint, plane.ErrUnsupported)
	case 2:
		return p.openLocal(c, pods[0], pods[1])
	}
	j := joint{plane: p, conn: c, pod: pods[0]}
	if _, ok := c.Endpoint.(plane.Kernel); ok {
		j.side = 1
	}
	switch port := tunnel.(type) {
	case plane.VXLAN:
		return j.openVXLAN(l, port)
	case plane.WireGuard:
		return j.openWireGuard(ctx, l, port)
	case plane.VLAN:
		return j.openVLAN(l, port)
	}
	return nil, fmt.Errorf("port of kind %s: %w", tunnel.Kind(), plane.ErrUnsupported)
}

// claimInterface makes a pod's interface the connection's.
func (p *Plane) claimInterface(l *link, id string, pod plane.Kernel) error {
	if err := p.claim(l, id, fmt.Sprintf("interface %s of netns %d:%d", pod.Name, pod.Device, pod.Inode)); err != nil {
		return fmt.Errorf("%s: %w: %w", pod, err, podif.ErrNameTaken)
	}
	return nil
}

// joint is a pod's interface that is joined to a tunnel.
type joint struct {
	plane *Plane
	conn  *plane.Connection
	pod   plane.Kernel
	side  int // of the pod: 0 if it is the client's
}

// counters puts those of the pod's side and the tunnel's where they belong.
func (j *joint) counters(pod, tunnel plane.Counters) [2]plane.Counters {
	var c [2]plane.Counters
	c[j.side], c[1-j.side] = pod, tunnel
	return c
}

// uplinkUp fails if nothing can be sent.
func (j *joint) uplinkUp() error {
	if !j.plane.uplink.Up() {
		return fmt.Errorf("uplink %s is down", j.plane.uplink.LinkName())
	}
	return nil
}

// local is a veth pair between two pods.
type local struct{ *veth.Pair }

func (p *Plane) openLocal(c *plane.Connection, a, b plane.Kernel) (way, error) {
	pair, err := veth.Join(c, a, b, p.fault)
	if err != nil {
		return nil, err
	}
	return local{pair}, nil
}

func (local) path() string               { return "veth" }
func (w local) count() [2]plane.Counters { return w.Counters() }
func (w local) close() error             { return w.Close() }
func (w local) release() error           { w.Release(); return nil }
