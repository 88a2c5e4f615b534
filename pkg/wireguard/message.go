// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/crypto/blake2s"
)

// kind is the first field of a message: one byte and three reserved ones that
// are zero, read as one little-endian number (section 5.4 of the paper).
type kind uint32

const (
	initiation  kind = 1
	response    kind = 2
	cookieReply kind = 3
	transport   kind = 4
)

// Sizes and offsets in bytes. Handshake messages have one size each, transport
// data is at least a header and an authentication tag.
const (
	initiationSize   = 148
	responseSize     = 92
	cookieReplySize  = 64
	transportMinSize = 32
	// maxDatagram is what a wireguard-go message buffer holds.
	maxDatagram = 1<<16 - 1

	// senderOffset is where initiations and responses carry the index that
	// their sender chose.
	senderOffset = 4
	// Of responses the receiver's index comes after the sender's.
	responseReceiverOffset = 8
	// Cookie replies and transport data have only the receiver's.
	receiverOffset = 4

	macSize    = blake2s.Size128
	mac1Offset = initiationSize - 2*macSize
)

// parse reads what the hub needs of a datagram: its kind and, unless it is an
// initiation, the index of the receiver's session. A reason other than noDrop
// means that no WireGuard device could make sense of it.
func parse(datagram []byte) (k kind, receiver uint32, reason Reason) {
	switch n := len(datagram); {
	case n < transportMinSize:
		return 0, 0, DropShort
	case n > maxDatagram:
		return 0, 0, DropOversized
	}
	k = kind(binary.LittleEndian.Uint32(datagram))
	want, offset := 0, receiverOffset
	switch k {
	case transport:
		return k, binary.LittleEndian.Uint32(datagram[receiverOffset:]), noDrop
	case initiation:
		want = initiationSize
	case response:
		want, offset = responseSize, responseReceiverOffset
	case cookieReply:
		want = cookieReplySize
	default:
		return 0, 0, DropUnknownType
	}
	switch {
	case len(datagram) < want:
		return 0, 0, DropShort
	case len(datagram) > want:
		return 0, 0, DropOversized
	case k == initiation:
		return k, 0, noDrop
	}
	return k, binary.LittleEndian.Uint32(datagram[offset:]), noDrop
}

// mac1 checks whether initiations are meant for one public key. It is not safe
// for concurrent use.
type mac1 struct {
	mac hash.Hash
	sum [macSize]byte
}

// newMAC1 makes the check for messages to the owner of the public key:
// MAC(HASH("mac1----" || public), message up to mac1), both BLAKE2s.
func newMAC1(public Key) (*mac1, error) {
	key := blake2s.Sum256(append([]byte("mac1----"), public[:]...))
	mac, err := blake2s.New128(key[:])
	if err != nil {
		return nil, fmt.Errorf("key mac1: %w", err)
	}
	return &mac1{mac: mac}, nil
}

// matches says whether an initiation, which has initiationSize bytes, carries
// the right mac1.
func (m *mac1) matches(message []byte) bool {
	m.mac.Reset()
	m.mac.Write(message[:mac1Offset])
	sum := m.mac.Sum(m.sum[:0])
	return subtle.ConstantTimeCompare(sum, message[mac1Offset:mac1Offset+macSize]) == 1
}
