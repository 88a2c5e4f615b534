// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// Recall tells that an earlier process has joined a pod's interface for a
// connection. The pod's NetNS may be empty: then a process in it is looked for.
func (p *Plane) Recall(id string, pod plane.Kernel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recalled[id] = pod
}

// Left reads the tunnel's end from the device that an earlier process left.
func (p *Plane) Left(id string) plane.Port {
	p.mu.Lock()
	pod, ok := p.recalled[id]
	p.mu.Unlock()
	if !ok {
		return nil
	}
	port, err := p.left(pod)
	if err != nil {
		p.log.Warn("look for what an earlier run left", "connection", id, "error", err)
		return nil
	}
	return port
}

func (p *Plane) left(pod plane.Kernel) (plane.Port, error) {
	if pod.NetNS == "" {
		for pid := range netns.Processes(pod.Device, pod.Inode) {
			pod.NetNS = netns.Of(pid)
			break
		}
	}
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
