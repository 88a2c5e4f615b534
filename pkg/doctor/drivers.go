// SPDX-License-Identifier: Apache-2.0

package doctor

// driver is what is known of a network driver, for kernels before 6.3, which
// cannot tell, and for what no kernel tells.
type driver struct {
	native, zeroCopy bool
	// maxMTU for native XDP without multi-buffer, 0 if it is the usual one.
	maxMTU int
	// note is what to look out for.
	note string
}

// usualMTU is what fits into one page with the kernel's headroom and tail room.
const usualMTU = 3498

var drivers = map[string]driver{
	"veth":       {native: true, note: "its peer loses segmentation offload while a program is attached"},
	"virtio_net": {native: true, note: "native XDP wants a transmit queue per CPU besides those in use, and the host's TSO and checksum offload off (guest_tso4, guest_csum)"},
	"i40e":       {native: true, zeroCopy: true, note: "attaching resets the link for a moment"},
	"ixgbe":      {native: true, zeroCopy: true, note: "attaching resets the link for seconds"},
	"ice":        {native: true, zeroCopy: true, note: "attaching resets the link for a moment; not on ports of a bond"},
	"igc":        {native: true, zeroCopy: true},
	"mlx5_core":  {native: true, zeroCopy: true, note: "attaching resets the link for a moment; before Linux 6.1 its AF_XDP queues have numbers of their own"},
	"ena":        {native: true, maxMTU: 3502, note: "no more than half of the channels may be in use with old drivers (ethtool -L)"},
	"gve":        {native: true},
	"hv_netvsc":  {native: true, note: "programs are passed on to the virtual function"},
	"e1000":      {note: "generic XDP only"},
	"bonding":    {note: "name a port of the bond by NSM_TUNNEL_IP, or make do with generic XDP"},
	"bridge":     {note: "frames pass its ports first: give the address to the real interface, or make do with generic XDP"},
}
