// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// OffloadLen is the length of the header of TUN and TAP devices with
// IFF_VNET_HDR.
const OffloadLen = 10

// Flags and types of Offload (linux/virtio_net.h).
const (
	// NeedsChecksum: the checksum at CsumStart+CsumOffset holds the sum of the
	// pseudo header only.
	NeedsChecksum = 1

	GSONone = 0
	GSOTCP4 = 1
	GSOTCP6 = 4
	GSOUDP  = 5
	// GSOECN is set beside the type if the packet has the CWR flag.
	GSOECN = 0x80
)

// Offload says what is left to do to a packet: struct virtio_net_hdr, in the
// byte order of this machine.
type Offload struct {
	Flags   uint8
	GSOType uint8
	// HeaderLen is a hint and not to be relied on.
	HeaderLen uint16
	// GSOSize is the payload of a segment in bytes.
	GSOSize uint16
	// CsumStart and CsumOffset count from the start of the packet, and from
	// CsumStart.
	CsumStart, CsumOffset uint16
}

// Decode reads the first OffloadLen bytes.
func (o *Offload) Decode(b []byte) {
	_ = b[OffloadLen-1]
	o.Flags, o.GSOType = b[0], b[1]
	o.HeaderLen = binary.NativeEndian.Uint16(b[2:])
	o.GSOSize = binary.NativeEndian.Uint16(b[4:])
	o.CsumStart = binary.NativeEndian.Uint16(b[6:])
	o.CsumOffset = binary.NativeEndian.Uint16(b[8:])
}

// Put writes OffloadLen bytes.
func (o *Offload) Put(b []byte) {
	_ = b[OffloadLen-1]
	b[0], b[1] = o.Flags, o.GSOType
	binary.NativeEndian.PutUint16(b[2:], o.HeaderLen)
	binary.NativeEndian.PutUint16(b[4:], o.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], o.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], o.CsumOffset)
}

// FinishChecksum completes the checksum of a packet that is not to be segmented.
// It returns false, with the packet as it was, if the header points outside.
func (o *Offload) FinishChecksum(packet []byte) bool {
	if o.Flags&NeedsChecksum == 0 {
		return true
	}
	start := int(o.CsumStart)
	at := start + int(o.CsumOffset)
	if at+2 > len(packet) || o.CsumOffset&1 != 0 {
		return false
	}
	// Zero means "no checksum" to UDP and is the same number as 0xffff to all.
	Sum(0).Add(packet[start:]).putUDP(packet[at:])
	return true
}
