// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// idMask is the VLAN identifier in a tag's control information; the rest is
// priority and drop eligibility (IEEE 802.1Q, section 9.6).
const idMask = 0x0fff

// VLAN is the identifier of the 802.1Q tag that a frame begins with, the
// outermost if there are more. It is 0 if there is none, if the frame ends within
// it or within the EtherType behind it, or if the tag tells a priority only. An
// 802.1ad service tag numbers other networks and is not read.
func VLAN(frame []byte) uint16 {
	if len(frame) < EthernetLen+TagLen || binary.BigEndian.Uint16(frame[12:]) != typeVLAN {
		return 0
	}
	return binary.BigEndian.Uint16(frame[14:]) & idMask
}

// PopVLAN takes the tag out of a frame for which VLAN is not 0. The frame begins
// TagLen bytes later then.
func PopVLAN(frame []byte) {
	copy(frame[TagLen:TagLen+12], frame[:12])
}

// PushVLAN puts a tag into the frame that begins at b[TagLen] and has an Ethernet
// header. It begins at b[0] then.
func PushVLAN(b []byte, id uint16) {
	copy(b[:12], b[TagLen:TagLen+12])
	binary.BigEndian.PutUint32(b[12:], typeVLAN<<16|uint32(id&idMask))
}
