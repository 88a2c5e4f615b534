// SPDX-License-Identifier: Apache-2.0

// Package wireguard negotiates the WIREGUARD mechanism, the tunnel of IP
// payload.
//
// Each half has a key pair per connection, keeps it while the connection lives,
// and shows the public key to the other. Where the tunnel of an earlier process
// goes on, its key pair and UDP port are taken back. All connections of a node
// share one UDP port, unless the plane wants one for each.
package wireguard

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"

	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// DefaultPort is WireGuard's customary UDP port, for planes to which any will do.
const DefaultPort = 51820

// end is this node's end of a tunnel.
type end struct {
	key   *ecdh.PrivateKey
	local netip.AddrPort
}

type endKey struct{}

// ourEnd returns the connection's end at this half, decided at first use.
func ourEnd(ctx context.Context, isClient bool, id string, underlay mtu.Underlay, devices plane.Devices) (end, error) {
	m := metadata.Map(ctx, isClient)
	if e, ok := m.Load(endKey{}); ok {
		return e.(end), nil
	}
	e, err := decideEnd(id, underlay.Addr(), devices)
	if err != nil {
		return end{}, fmt.Errorf("wireguard mechanism: %w", err)
	}
	m.Store(endKey{}, e)
	return e, nil
}

func decideEnd(id string, local netip.Addr, devices plane.Devices) (end, error) {
	if left, ok := devices.Left(id).(plane.WireGuard); ok {
		key, err := ecdh.X25519().NewPrivateKey(left.PrivateKey[:])
		if err != nil {
			return end{}, fmt.Errorf("take back the key of connection %s: %w", id, err)
		}
		return end{key, netip.AddrPortFrom(local, left.Local.Port())}, nil
	}
	port, err := devices.WireGuardPort(id)
	if err != nil {
		return end{}, err
	}
	if port == 0 {
		port = DefaultPort
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return end{}, fmt.Errorf("make a key pair: %w", err)
	}
	return end{key, netip.AddrPortFrom(local, port)}, nil
}

func forgetEnd(ctx context.Context, isClient bool) {
	metadata.Map(ctx, isClient).Delete(endKey{})
}

// publicKey is as the mechanism has it.
func (e end) publicKey() string {
	return base64.StdEncoding.EncodeToString(e.key.PublicKey().Bytes())
}

// port describes a tunnel.
func (e end) port(peerIP net.IP, peerPort uint16, peerKey string, initiator bool) (plane.WireGuard, error) {
	remote, ok := netip.AddrFromSlice(peerIP)
	remote = remote.Unmap()
	if !ok || remote.IsUnspecified() || remote.IsMulticast() {
		return plane.WireGuard{}, fmt.Errorf("wireguard mechanism: %q is no tunnel address of a peer", peerIP)
	}
	if remote.Is4() != e.local.Addr().Is4() {
		return plane.WireGuard{}, fmt.Errorf("wireguard mechanism: tunnel addresses %s and %s are of different families",
			e.local.Addr(), remote)
	}
	if peerPort == 0 {
		peerPort = DefaultPort
	}
	raw, err := base64.StdEncoding.DecodeString(peerKey)
	if err != nil || len(raw) != len(plane.Key{}) {
		return plane.WireGuard{}, fmt.Errorf("wireguard mechanism: peer's public key %q is not 32 bytes in base64", peerKey)
	}
	return plane.WireGuard{
		Local: e.local, Remote: netip.AddrPortFrom(remote, peerPort),
		PrivateKey: plane.Key(e.key.Bytes()), PeerKey: plane.Key(raw), Initiator: initiator,
	}, nil
}
