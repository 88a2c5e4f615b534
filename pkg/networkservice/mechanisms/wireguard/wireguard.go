// SPDX-License-Identifier: Apache-2.0

// Package wireguard negotiates the WIREGUARD mechanism, the tunnel of IP
// payload.
//
// Each half makes a key pair per connection, keeps it while the connection
// lives, and shows the public key to the other. All connections of a node
// share one UDP port.
package wireguard

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	wgmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// DefaultPort is WireGuard's customary UDP port.
const DefaultPort = 51820

type keyKey struct{}

// keyPair returns the connection's key pair at this half, made at first use.
func keyPair(ctx context.Context, isClient bool) (*ecdh.PrivateKey, error) {
	m := metadata.Map(ctx, isClient)
	if k, ok := m.Load(keyKey{}); ok {
		return k.(*ecdh.PrivateKey), nil
	}
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("wireguard mechanism: make a key pair: %w", err)
	}
	m.Store(keyKey{}, k)
	return k, nil
}

func forgetKeyPair(ctx context.Context, isClient bool) {
	metadata.Map(ctx, isClient).Delete(keyKey{})
}

func encodeKey(k *ecdh.PublicKey) string {
	return base64.StdEncoding.EncodeToString(k.Bytes())
}

// newPort describes a tunnel. local is the address and port of this node.
func newPort(key *ecdh.PrivateKey, local netip.AddrPort, peerIP net.IP, peerPort uint16, peerKey string, initiator bool,
) (plane.WireGuard, error) {
	remote, ok := netip.AddrFromSlice(peerIP)
	remote = remote.Unmap()
	if !ok || remote.IsUnspecified() || remote.IsMulticast() {
		return plane.WireGuard{}, fmt.Errorf("wireguard mechanism: %q is no tunnel address of a peer", peerIP)
	}
	if remote.Is4() != local.Addr().Is4() {
		return plane.WireGuard{}, fmt.Errorf("wireguard mechanism: tunnel addresses %s and %s are of different families",
			local.Addr(), remote)
	}
	if peerPort == 0 {
		peerPort = DefaultPort
	}
	raw, err := base64.StdEncoding.DecodeString(peerKey)
	if err != nil || len(raw) != len(plane.Key{}) {
		return plane.WireGuard{}, fmt.Errorf("wireguard mechanism: peer's public key %q is not 32 bytes in base64", peerKey)
	}
	return plane.WireGuard{
		Local: local, Remote: netip.AddrPortFrom(remote, peerPort),
		PrivateKey: plane.Key(key.Bytes()), PeerKey: plane.Key(raw), Initiator: initiator,
	}, nil
}

// limitMTU lowers the connection's MTU to the tunnel's: that of our uplink, or
// the one that the peer has put into the mechanism if that is less. It returns
// ours.
func limitMTU(underlay mtu.Underlay, conn *networkservice.Connection) uint32 {
	ours := tunnelMTU(underlay)
	limit := ours
	if m := wgmech.ToMechanism(conn.GetMechanism()); m != nil && m.MTU() != 0 {
		limit = min(limit, m.MTU())
	}
	mtu.Limit(conn, int(limit))
	return ours
}

func tunnelMTU(underlay mtu.Underlay) uint32 {
	return uint32(max(0, mtu.Tunnel(underlay.MTU(), mtu.WireGuard, underlay.Addr())))
}
