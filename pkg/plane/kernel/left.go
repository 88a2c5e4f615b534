// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// Recall tells that an earlier process has joined a connection, and resumes its
// tunnel if that was one of wireguard-go. The NetNS of pods may be empty: then a
// process in it is looked for.
func (p *Plane) Recall(c *plane.Connection) {
	p.mu.Lock()
	p.recalled[c.ID] = c
	p.mu.Unlock()
	if !p.InProcess(c) {
		return
	}
	if err := p.recall(c); err != nil {
		p.log.Warn("look for what an earlier run left", "connection", c.ID, "error", err)
	}
}

// recall is Recall of a connection that the process itself carried.
func (p *Plane) recall(c *plane.Connection) error {
	end, _ := endOf(c)
	if end.pod = reach(end.pod); end.pod.NetNS == "" {
		return nil // the pod is gone
	}
	here := p.here(*end.port)
	end.port = &here
	conn := *c
	conn.Client, conn.Endpoint = end.pod, here
	if end.side == 1 {
		conn.Client, conn.Endpoint = here, end.pod
	}
	return p.links.Resume(&conn,
		func(l *link, c *plane.Connection) error { return l.resume(c, end) },
		func(ctx context.Context, l *link) error { return l.settle(ctx) })
}

// Forget ends a tunnel that was resumed and that nobody has asked for.
func (p *Plane) Forget(id string) error {
	p.mu.Lock()
	delete(p.recalled, id)
	p.mu.Unlock()
	return p.links.Release(id)
}

// Left reads the tunnel's end from the device that an earlier process left.
func (p *Plane) Left(id string) plane.Port {
	p.mu.Lock()
	c := p.recalled[id]
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	end, ok := endOf(c)
	if !ok {
		return nil
	}
	port, err := p.left(end)
	if err != nil {
		p.log.Warn("look for what an earlier run left", "connection", id, "error", err)
		return nil
	}
	return port
}

// reach finds a path to the pod's namespace, if it has none. It stays empty if the
// pod is gone.
func reach(pod plane.Kernel) plane.Kernel {
	if pod.NetNS == "" {
		for pid := range netns.Processes(pod.Device, pod.Inode) {
			pod.NetNS = netns.Of(pid)
			break
		}
	}
	return pod
}

func (p *Plane) left(end podEnd) (plane.Port, error) {
	pod := reach(end.pod)
	if pod.NetNS == "" {
		return nil, nil // the pod is gone
	}
	if err := podif.Check(pod); err != nil {
		return nil, err
	}
	h, err := netns.NetlinkHandle(pod.NetNS)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	l, err := podif.Find(h, pod)
	if err != nil || l == nil {
		return nil, err
	}
	switch l := l.(type) {
	case *netlink.Vxlan:
		return leftVXLAN(l), nil
	case *netlink.Wireguard:
		return p.leftWireGuard(pod)
	case *netlink.Tuntap:
		if end.port != nil && !p.wgDevices {
			return p.here(*end.port), nil
		}
	}
	return nil, nil
}

func leftVXLAN(l *netlink.Vxlan) plane.Port {
	local, _ := netip.AddrFromSlice(l.SrcAddr)
	remote, _ := netip.AddrFromSlice(l.Group)
	return plane.VXLAN{
		Local: local.Unmap(), Remote: remote.Unmap(),
		LocalPort: uint16(l.Port), RemotePort: uint16(l.Port), VNI: uint32(l.VxlanId),
	}
}

func (p *Plane) leftWireGuard(pod plane.Kernel) (plane.Port, error) {
	have, err := readWireGuard(pod.NetNS, pod.Name)
	if err != nil {
		return nil, err
	}
	if len(have.Peers) != 1 || have.Peers[0].Endpoint == nil {
		return nil, fmt.Errorf("wireguard device %s has not one peer at one address", pod.Name)
	}
	remote := have.Peers[0].Endpoint.AddrPort()
	return plane.WireGuard{
		Local:      netip.AddrPortFrom(p.uplink.Addr(), uint16(have.ListenPort)),
		Remote:     netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()),
		PrivateKey: plane.Key(have.PrivateKey), PeerKey: plane.Key(have.Peers[0].PublicKey),
		Initiator: have.Peers[0].PersistentKeepaliveInterval != 0,
	}, nil
}

// HasRoom tells whether no other connection has the VNI.
func (p *Plane) HasRoom(id string, v plane.VXLAN) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	owner, taken := p.claims[vniClaim(v)]
	return !taken || owner == id
}
