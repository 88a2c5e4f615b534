// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tally"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

// guard is a WireGuard tunnel on a TUN device in a pod. The device outlives the
// process, and the tunnel is resumed by the next one (resume.go).
type guard struct {
	joint
	port   plane.WireGuard
	fd     int // of the device, -1 if there is none
	hub    *hub
	tunnel *wireguard.Tunnel
	pods   [1]tally.Counters // what the pod sent and got
	// resumed: the tunnel is an earlier process's, and nobody has asked for it in
	// this one.
	resumed atomic.Bool
	rousing rousing
}

func (j *joint) openWireGuard(ctx context.Context, l *link, port plane.WireGuard) (way, error) {
	if err := tunnels.CheckWireGuard(j.conn.Payload, port); err != nil {
		return nil, err
	}
	if j.plane.wgDevices {
		return j.openWGDevice(ctx, l, port)
	}
	g := &guard{joint: *j, port: port, fd: -1}
	if err := g.open(ctx); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *guard) open(ctx context.Context) error {
	if err := podif.Check(g.pod); err != nil {
		return err
	}
	if err := g.uplinkUp(); err != nil && !g.resumed.Load() {
		return err
	}
	var err error
	if g.hub, err = g.plane.openHub(g.port.Local); err != nil {
		return err
	}
	d := tun.Device{NetNS: g.pod.NetNS, Name: g.pod.Name, Alias: g.pod.Alias, Link: packet.IP, MTU: g.conn.MTU, Lasting: true}
	open := d.Open
	if g.resumed.Load() {
		open = d.Adopt
	}
	if g.fd, err = open(g.plane.fault); err != nil {
		return fmt.Errorf("%s: %w", g.pod, err)
	}
	if err := g.openTunnel(ctx); err != nil {
		return err
	}
	if err := g.plane.fault("handshake"); err != nil {
		return err
	}
	switch {
	case g.resumed.Load():
		g.rouse()
	case g.port.Initiator:
		return g.tunnel.Handshake(ctx)
	}
	return nil
}

// openTunnel connects the device with the peer.
func (g *guard) openTunnel(ctx context.Context) error {
	if err := g.plane.fault("tunnel"); err != nil {
		return err
	}
	limit := tunnels.WireGuardMTU(g.plane.uplink.MTU(), g.port.Remote.Addr())
	inside, err := tun.NewInside(g.fd, g.pod.Name, limit, &g.pods[0])
	if err != nil {
		return fmt.Errorf("%s: %w", g.pod, err)
	}
	g.tunnel, err = g.hub.Open(ctx, wireguard.Config{
		PrivateKey: wireguard.Key(g.port.PrivateKey),
		PeerKey:    wireguard.Key(g.port.PeerKey),
		Local:      g.hub.local,
		Remote:     g.port.Remote,
		MTU:        g.conn.MTU,
		PeerBegins: !g.port.Initiator && !g.resumed.Load(),
	}, inside)
	return err
}

func (g *guard) path() string {
	if g.resumed.Load() {
		return "wireguard-go, resumed"
	}
	return "wireguard-go"
}

func (g *guard) count() [2]plane.Counters {
	var tunnel plane.Counters
	if s, err := g.tunnel.Stats(); err == nil {
		tunnel = plane.Counters{
			RxPackets: s.RxPackets, RxBytes: s.RxBytes,
			TxPackets: s.TxPackets, TxBytes: s.TxBytes,
			Drops: s.Dropped,
		}
	}
	return g.counters(tally.Sum(g.pods[:]), tunnel)
}

func (g *guard) close() error { return g.end(tun.Remove) }

// release leaves the device in the pod, with nothing behind it.
func (g *guard) release() error { return g.end(unix.Close) }

// end ends the tunnel, and lets go of the device as the function does.
func (g *guard) end(letGo func(fd int) error) error {
	g.rousing.end()
	var errs []error
	if g.tunnel != nil {
		g.tunnel.Close()
	}
	if g.hub != nil {
		errs = append(errs, g.plane.closeHub(g.hub))
	}
	if g.fd >= 0 {
		if err := letGo(g.fd); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", g.pod, err))
		}
	}
	return errors.Join(errs...)
}
