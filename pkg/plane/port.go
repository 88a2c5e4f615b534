// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"encoding/base64"
	"fmt"
	"net/netip"
)

// Kind tells the kinds of port apart. The values are NSM's mechanism types.
type Kind string

// The kinds of port.
const (
	KindKernel    Kind = "KERNEL"
	KindMemif     Kind = "MEMIF"
	KindVXLAN     Kind = "VXLAN"
	KindWireGuard Kind = "WIREGUARD"
	KindVLAN      Kind = "VLAN"
)

// Port is one end of a connection: Kernel, Memif, VXLAN, WireGuard or VLAN.
// Ports are comparable; two that are equal describe the same end.
type Port interface {
	Kind() Kind
	// String is a short text for logs and tables. It holds no secrets.
	String() string
}

// Kernel is a network interface of the kernel in a pod.
type Kernel struct {
	// NetNS is a path to the network namespace (/proc/<pid>/fd/<n>, or a name
	// under /run/netns). It may change from request to request for the same
	// namespace; Inode says which one it is.
	NetNS string `json:"-"`
	// Device and Inode identify the namespace (st_dev, st_ino of NetNS).
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	// Name of the interface, at most 15 bytes.
	Name string `json:"name"`
	// Alias is set as the link's alias (ifalias), so that an operator can tell
	// whose interface it is.
	Alias string `json:"alias,omitempty"`
}

// Kind is KindKernel.
func (Kernel) Kind() Kind { return KindKernel }

func (k Kernel) String() string { return fmt.Sprintf("kernel %s (netns %d)", k.Name, k.Inode) }

// Memif is a shared-memory interface (memif 2.0) with id 0 and no secret. It
// carries frames or IP packets, as the connection's payload says.
type Memif struct {
	// Socket is the path of the control socket, at most 107 bytes; a leading '@'
	// makes it an abstract one in the network namespace NetNS.
	Socket string `json:"socket"`
	// NetNS is a path to the network namespace of the pod, as in Kernel, and
	// empty for a socket file; Device and Inode identify the namespace.
	NetNS  string `json:"-"`
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	// Name is what the pod calls the interface, for metrics and tables; it may be
	// empty.
	Name string `json:"name,omitempty"`
	// Master: we listen and the peer connects.
	Master bool `json:"master"`
}

// Kind is KindMemif.
func (Memif) Kind() Kind { return KindMemif }

func (m Memif) String() string {
	role := "slave"
	if m.Master {
		role = "master"
	}
	if m.Name == "" {
		return fmt.Sprintf("memif %s %s", role, m.Socket)
	}
	return fmt.Sprintf("memif %s (%s, netns %d)", m.Name, role, m.Inode)
}

// VXLAN is a tunnel end as of RFC 7348, carrying Ethernet frames.
type VXLAN struct {
	Local  netip.Addr `json:"local"`
	Remote netip.Addr `json:"remote"`
	// LocalPort is the UDP port that frames for us are sent to, RemotePort the
	// one that the peer listens on.
	LocalPort  uint16 `json:"localPort"`
	RemotePort uint16 `json:"remotePort"`
	// VNI is the network identifier, 24 bits.
	VNI uint32 `json:"vni"`
}

// Kind is KindVXLAN.
func (VXLAN) Kind() Kind { return KindVXLAN }

func (v VXLAN) String() string { return fmt.Sprintf("vxlan %d to %s", v.VNI, v.Remote) }

// Key is a Curve25519 key.
type Key [32]byte

// String is the key in base64, as wg(8) prints it.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// WireGuard is a tunnel end with a key pair of its own, carrying IP packets.
type WireGuard struct {
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// PrivateKey is ours, PeerKey the peer's public key.
	PrivateKey Key `json:"-"`
	PeerKey    Key `json:"peerKey"`
	// Initiator: we begin the handshake, and Join returns when it is done. The
	// peer is known to be listening by then.
	Initiator bool `json:"initiator"`
}

// Kind is KindWireGuard.
func (WireGuard) Kind() Kind { return KindWireGuard }

func (w WireGuard) String() string { return "wireguard to " + w.Remote.String() }

// VLAN is a network behind the uplink, told apart by an 802.1Q tag.
type VLAN struct {
	// Uplink is the interface that the tagged frames pass, empty for the
	// plane's own.
	Uplink string `json:"uplink,omitempty"`
	// ID is the VLAN identifier, 1 to 4094.
	ID uint16 `json:"id"`
}

// Kind is KindVLAN.
func (VLAN) Kind() Kind { return KindVLAN }

func (v VLAN) String() string {
	if v.Uplink == "" {
		return fmt.Sprintf("vlan %d", v.ID)
	}
	return fmt.Sprintf("vlan %d of %s", v.ID, v.Uplink)
}
