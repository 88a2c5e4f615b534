// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// WireGuard tunnels are run by wireguard-go, on goroutines of its own. Workers
// give the datagrams of a local UDP port to its hub, which all tunnels of that
// port share (hubs.go). What tunnels send goes through the outbox of a worker.
// Pods' packets do not pass a worker: the tunnel reads and writes the pod's
// device itself (package tun).

// wireguardPort is the end of a WireGuard tunnel.
type wireguardPort struct {
	plane   *Plane
	port    plane.WireGuard
	mtu     int
	hub     *hub
	path    *path
	tunnel  *wireguard.Tunnel // nil unless connected
	earlier plane.Counters    // of tunnels before this one
}

// insider is a port whose packets a tunnel moves itself.
type insider interface {
	// inside hands the packets over; those of more than limit bytes are too big
	// for the tunnel.
	inside(limit int) (wireguard.Inside, error)
}

func newWireGuard(p *Plane, c *plane.Connection, port plane.WireGuard) (end, error) {
	if err := tunnels.CheckWireGuard(c.Payload, port); err != nil {
		return nil, err
	}
	g := &wireguardPort{plane: p, port: port, mtu: c.MTU}
	var err error
	if g.path, err = p.openPath(port.Local, port.Remote); err != nil {
		return nil, err
	}
	if g.hub, err = p.openHub(port.Local); err != nil {
		p.closePath(g.path)
		return nil, err
	}
	return g, nil
}

func (g *wireguardPort) connect(ctx context.Context, other end) error {
	peer, ok := other.(insider)
	if !ok {
		return fmt.Errorf("WireGuard can be joined to an interface in a pod only: %w", plane.ErrUnsupported)
	}
	if err := g.plane.fault("tunnel"); err != nil {
		return err
	}
	inside, err := peer.inside(tunnels.WireGuardMTU(g.plane.mtu, g.port.Remote.Addr()))
	if err != nil {
		return err
	}
	g.tunnel, err = g.hub.Open(ctx, wireguard.Config{
		PrivateKey: wireguard.Key(g.port.PrivateKey),
		PeerKey:    wireguard.Key(g.port.PeerKey),
		Local:      g.port.Local,
		Remote:     g.port.Remote,
		MTU:        g.mtu,
		PeerBegins: !g.port.Initiator,
	}, inside)
	if err != nil {
		return err
	}
	if err := g.plane.fault("handshake"); err != nil {
		return err
	}
	if !g.port.Initiator {
		return nil
	}
	if err := g.path.nextHop.Wait(ctx); err != nil {
		return err
	}
	return g.tunnel.Handshake(ctx)
}

func (g *wireguardPort) disconnect() {
	if g.tunnel == nil {
		return
	}
	g.tunnel.Close()
	g.earlier = g.count()
	g.tunnel = nil
}

func (g *wireguardPort) close() error {
	g.plane.closeHub(g.hub)
	g.plane.closePath(g.path)
	return nil
}

func (g *wireguardPort) count() plane.Counters {
	c := g.earlier
	if g.tunnel == nil {
		return c
	}
	s, err := g.tunnel.Stats()
	if err != nil {
		return c
	}
	c.RxPackets += s.RxPackets
	c.RxBytes += s.RxBytes
	c.TxPackets += s.TxPackets
	c.TxBytes += s.TxBytes
	c.Drops += s.Dropped
	return c
}

// path is the way from a local UDP port to a remote one, shared by the tunnels
// between the two.
type path struct {
	key     pathKey
	nextHop *uplink.NextHop
	worker  *worker
	users   int // guarded by Plane.tables
	mtu     int
	headers atomic.Pointer[pathHeaders]
}

type pathKey struct{ local, remote netip.AddrPort }

// pathHeaders are the headers for a next hop; they do not change.
type pathHeaders struct {
	hop   *uplink.Hop
	outer packet.Outer
	limit int // of a datagram
	whole int // of a datagram; longer ones leave in fragments
	link  int // MTU of the way
}

func (p *Plane) openPath(local, remote netip.AddrPort) (*path, error) {
	if err := p.fault("next hop"); err != nil {
		return nil, err
	}
	p.tables.Lock()
	defer p.tables.Unlock()
	t := p.table.Load()
	key := pathKey{local, remote}
	if known := t.paths[key]; known != nil {
		known.users++
		return known, nil
	}
	h, err := p.uplink.NextHop(remote.Addr().Unmap())
	if err != nil {
		return nil, fmt.Errorf("find the way to %s: %w", remote.Addr(), err)
	}
	w := p.workers[len(t.paths)%len(p.workers)]
	w.enlist()
	opened := &path{key: key, nextHop: h, worker: w, users: 1, mtu: p.mtu}
	c := t.clone()
	c.paths[key] = opened
	p.table.Store(c)
	return opened, nil
}

func (p *Plane) closePath(closing *path) {
	p.tables.Lock()
	defer p.tables.Unlock()
	if closing.users--; closing.users > 0 {
		return
	}
	c := p.table.Load().clone()
	delete(c.paths, closing.key)
	p.table.Store(c)
	closing.worker.retire()
	closing.nextHop.Release()
}

// transport is the Plane as wireguard sees it.
type transport struct{ *Plane }

// errNoPath says that a datagram cannot be sent to where its tunnel wants it.
var errNoPath = errors.New("no next hop")

// Send stamps headers in front of datagrams and leaves them to a worker.
func (p transport) Send(local, remote netip.AddrPort, datagrams [][]byte) error {
	to := p.table.Load().paths[pathKey{local, remote}]
	if to == nil {
		return fmt.Errorf("send to %s: %w", remote, errNoPath)
	}
	h := to.headers.Load()
	if hop := to.nextHop.Load(); h == nil || h.hop != hop {
		h = to.prepare(hop)
	}
	if !h.hop.Valid {
		return errNoPath
	}
	var addrs [16]uint64
	var descs [16]xsk.Desc
	for len(datagrams) > 0 {
		n := h.leaveWhole(datagrams)
		if n == 0 {
			if err := p.sendFragments(to.worker, h, datagrams[0]); err != nil {
				return err
			}
			datagrams = datagrams[1:]
			continue
		}
		n, err := to.worker.borrow(addrs[:min(len(addrs), n)])
		if err != nil {
			return err
		}
		for i, d := range datagrams[:n] {
			descs[i] = to.fill(h, addrs[i], d)
		}
		to.worker.post(descs[:n])
		datagrams = datagrams[n:]
	}
	return nil
}

// leaveWhole is how many of the first datagrams need not be fragmented.
func (h *pathHeaders) leaveWhole(datagrams [][]byte) int {
	for i, d := range datagrams {
		if len(d) > h.whole {
			return i
		}
	}
	return len(datagrams)
}

// fill copies a datagram into a UMEM frame behind its headers.
func (t *path) fill(h *pathHeaders, addr uint64, datagram []byte) xsk.Desc {
	buf := t.worker.sock.Buffer(addr)
	start := headroom - h.outer.Len()
	end := headroom + copy(buf[headroom:], datagram)
	h.outer.Stamp(buf[start:end], 0)
	return xsk.Desc{Addr: addr + uint64(start), Len: uint32(end - start)}
}

func (t *path) prepare(hop *uplink.Hop) *pathHeaders {
	h := &pathHeaders{hop: hop, outer: packet.NewUDP(packet.Underlay{
		Destination: hop.Dst, Source: hop.Src, Tags: hop.Tags,
		Local: t.key.local, Remote: t.key.remote,
	})}
	mtu := t.mtu
	if hop.MTU > 0 && hop.MTU < mtu {
		mtu = hop.MTU
	}
	h.limit = tunnels.WireGuardMTU(mtu, t.key.remote.Addr()) + tunnels.WireGuardLen
	h.whole, h.link = mtu-h.outer.Overhead(), mtu
	t.headers.Store(h)
	return h
}
