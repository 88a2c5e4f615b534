// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

const (
	// sessionLife is how long a session may be used (REJECT_AFTER_TIME in the
	// WireGuard paper, section 6.1).
	sessionLife = 180 * time.Second
	// handshakePoll is how often the device is asked whether its handshake is
	// done: Linux tells nobody.
	handshakePoll = 5 * time.Millisecond
	// wgOverhead is what a device counts for a packet beyond its payload: header
	// and authentication of a data message. Padding is not known afterwards.
	wgOverhead = 32
)

// wgDevice is a WireGuard device of Linux.
type wgDevice struct{ *device }

// openWGDevice makes the device and, at the end that initiates, waits until it
// has a session.
func (j *joint) openWGDevice(ctx context.Context, l *link, port plane.WireGuard) (way, error) {
	if err := j.plane.claim(l, j.conn.ID, udpClaim(port.Local.Port())); err != nil {
		return nil, fmt.Errorf("%s: %w; each WireGuard device of Linux has a port of its own: %w", port, err, plane.ErrUnsupported)
	}
	d, err := j.openDevice(wgPattern(j.plane, j.pod, port))
	if err != nil {
		return nil, err
	}
	w := wgDevice{d}
	if err := w.awaitHandshake(ctx, port); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func udpClaim(port uint16) string { return fmt.Sprintf("UDP port %d for WireGuard", port) }

func wgPattern(p *Plane, pod plane.Kernel, port plane.WireGuard) pattern {
	return pattern{
		words: "WireGuard",
		make: func(attrs netlink.LinkAttrs) netlink.Link {
			attrs.HardwareAddr = nil // it carries IP packets
			return &netlink.Wireguard{LinkAttrs: attrs}
		},
		// Linux does not say which namespace the device sends from. The private
		// key says that it is ours.
		fits: func(l netlink.Link) bool {
			have, err := readWireGuard(pod.NetNS, l.Attrs().Name)
			return err == nil && len(have.Peers) == 1 &&
				have.PublicKey == wgtypes.Key(port.PrivateKey).PublicKey() &&
				have.Peers[0].PublicKey == wgtypes.Key(port.PeerKey) &&
				have.ListenPort == int(port.Local.Port())
		},
		placeless: true,
		prepare: func() error {
			// The device itself takes any address, and says nothing.
			return bindable(p.netns, port.Local)
		},
		finish: func(int) error {
			return withWireGuard(func(c *wgctrl.Client) error { return c.ConfigureDevice(pod.Name, wgConfig(port)) })
		},
		// The peer may have moved while nobody could tell the device.
		renew: func() error {
			return withWireGuard(func(c *wgctrl.Client) error {
				return c.ConfigureDevice(pod.Name, wgtypes.Config{Peers: []wgtypes.PeerConfig{{
					PublicKey: wgtypes.Key(port.PeerKey), UpdateOnly: true, Endpoint: net.UDPAddrFromAddrPort(port.Remote),
				}}})
			})
		},
		explain: func(err error) error {
			switch {
			case errors.Is(err, unix.EOPNOTSUPP):
				return fmt.Errorf("%w: this kernel has no WireGuard devices: load module wireguard: %w", err, plane.ErrUnsupported)
			case errors.Is(err, unix.EADDRINUSE):
				return portTaken(err, port.Local)
			}
			return err
		},
	}
}

func wgConfig(port plane.WireGuard) wgtypes.Config {
	key, listen := wgtypes.Key(port.PrivateKey), int(port.Local.Port())
	peer := wgtypes.PeerConfig{
		PublicKey: wgtypes.Key(port.PeerKey), Endpoint: net.UDPAddrFromAddrPort(port.Remote),
		AllowedIPs: []net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
	}
	// Keepalives of one end are enough for both. If both had them, both would
	// initiate when they come up, and two handshakes that cross each other fail
	// both, until Linux tries again after five seconds.
	if port.Initiator {
		keepalive := wireguard.DefaultKeepalive
		peer.PersistentKeepaliveInterval = &keepalive
	}
	return wgtypes.Config{PrivateKey: &key, ListenPort: &listen, ReplacePeers: true, Peers: []wgtypes.PeerConfig{peer}}
}

// awaitHandshake returns when the device has a session, if it is to begin one.
// The first keepalive has made it initiate.
func (w wgDevice) awaitHandshake(ctx context.Context, port plane.WireGuard) error {
	if err := w.plane.fault("handshake"); err != nil {
		return err
	}
	if !port.Initiator {
		return nil
	}
	started := time.Now()
	ticks := time.NewTicker(handshakePoll)
	defer ticks.Stop()
	for {
		have, err := readWireGuard(w.pod.NetNS, w.pod.Name)
		if err != nil {
			return fmt.Errorf("wireguard handshake with %s: %w", port.Remote, err)
		}
		if len(have.Peers) == 1 && time.Since(have.Peers[0].LastHandshakeTime) < sessionLife {
			return nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			c := wireguard.Config{
				PrivateKey: wireguard.Key(port.PrivateKey), PeerKey: wireguard.Key(port.PeerKey), Local: port.Local, Remote: port.Remote,
			}
			return c.Unanswered(ctx, time.Since(started), nil)
		}
	}
}

// count takes the overhead off what the device counts. Packets are padded to a
// multiple of 16 bytes, and keepalives are packets without payload: both are in
// it.
func (w wgDevice) count() [2]plane.Counters {
	c := w.device.count()
	for i := range c {
		c[i].RxBytes -= min(c[i].RxBytes, wgOverhead*c[i].RxPackets)
		c[i].TxBytes -= min(c[i].TxBytes, wgOverhead*c[i].TxPackets)
	}
	return c
}

// withWireGuard opens WireGuard's part of generic netlink in the caller's network
// namespace.
func withWireGuard(f func(*wgctrl.Client) error) error {
	c, err := wgctrl.New()
	if err != nil {
		return fmt.Errorf("open wireguard's netlink socket: %w", err)
	}
	defer c.Close()
	if err := f(c); err != nil {
		return fmt.Errorf("configure wireguard: %w", err)
	}
	return nil
}

// readWireGuard reads a device of the namespace at path.
func readWireGuard(path, name string) (have *wgtypes.Device, err error) {
	err = netns.Do(path, func() error {
		return withWireGuard(func(c *wgctrl.Client) error {
			have, err = c.Device(name)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read wireguard device %s: %w", name, err)
	}
	return have, nil
}

// bindable finds out whether a UDP socket of the namespace at path can have an
// address and port.
func bindable(path string, local netip.AddrPort) error {
	err := netns.Do(path, func() error {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		if err != nil {
			return err
		}
		return c.Close()
	})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return portTaken(err, local)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: %s is no address of this node", err, local.Addr())
	}
	return err
}

func portTaken(err error, local netip.AddrPort) error {
	return fmt.Errorf("%w: another WireGuard of the node (a CNI's?) or another program has UDP port %d", err, local.Port())
}
