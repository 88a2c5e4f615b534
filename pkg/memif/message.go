// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// version is the only version of the protocol there is: 2.0.
const version = 0x0200

const messageSize = 128

// message is a control message: a type (16 bits) and a packed body in the order of
// bytes of the host.
type message [messageSize]byte

type messageType uint16

// Types of message.
const (
	msgAck messageType = 1 + iota
	msgHello
	msgInit
	msgAddRegion
	msgAddRing
	msgConnect
	msgConnected
	msgDisconnect
)

func (t messageType) String() string {
	names := [...]string{"ACK", "HELLO", "INIT", "ADD_REGION", "ADD_RING", "CONNECT", "CONNECTED", "DISCONNECT"}
	if t < msgAck || int(t) > len(names) {
		return fmt.Sprintf("message type %d", uint16(t))
	}
	return names[t-1]
}

// fds is the number of file descriptors that come with a message.
func (t messageType) fds() int {
	if t == msgAddRegion || t == msgAddRing {
		return 1
	}
	return 0
}

// Sizes of texts, each filled up with zeros.
const (
	nameSize   = 32
	secretSize = 24
	reasonSize = 96
)

var order = binary.LittleEndian

func (m *message) kind() messageType { return messageType(order.Uint16(m[:])) }

func newMessage(t messageType) *message {
	m := new(message)
	order.PutUint16(m[:], uint16(t))
	return m
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// putText leaves a zero at the end, which VPP and DPDK expect.
func putText(b []byte, s string) { copy(b[:len(b)-1], s) }

// hello is what a master accepts. The three maxima of rings and regions are the
// highest index, not the number.
type hello struct {
	name            string
	minVersion      uint16
	maxVersion      uint16
	maxRegion       uint16
	maxToSlave      uint16 // M2S rings
	maxToMaster     uint16 // S2M rings
	maxLog2RingSize uint8
}

func (h hello) message() *message {
	m := newMessage(msgHello)
	putText(m[2:2+nameSize], h.name)
	order.PutUint16(m[34:], h.minVersion)
	order.PutUint16(m[36:], h.maxVersion)
	order.PutUint16(m[38:], h.maxRegion)
	order.PutUint16(m[40:], h.maxToSlave)
	order.PutUint16(m[42:], h.maxToMaster)
	m[44] = h.maxLog2RingSize
	return m
}

func (m *message) hello() hello {
	return hello{
		name:            text(m[2 : 2+nameSize]),
		minVersion:      order.Uint16(m[34:]),
		maxVersion:      order.Uint16(m[36:]),
		maxRegion:       order.Uint16(m[38:]),
		maxToSlave:      order.Uint16(m[40:]),
		maxToMaster:     order.Uint16(m[42:]),
		maxLog2RingSize: m[44],
	}
}

// initiation asks a master for one of its interfaces.
type initiation struct {
	version uint16
	id      uint32
	mode    Mode
	secret  [secretSize]byte
	name    string
}

func (i initiation) message() *message {
	m := newMessage(msgInit)
	order.PutUint16(m[2:], i.version)
	order.PutUint32(m[4:], i.id)
	m[8] = byte(i.mode)
	copy(m[9:], i.secret[:])
	putText(m[33:33+nameSize], i.name)
	return m
}

func (m *message) initiation() initiation {
	return initiation{
		version: order.Uint16(m[2:]),
		id:      order.Uint32(m[4:]),
		mode:    Mode(m[8]),
		secret:  [secretSize]byte(m[9 : 9+secretSize]),
		name:    text(m[33 : 33+nameSize]),
	}
}

// addRegion comes with the memory's file descriptor.
type addRegion struct {
	index uint16
	size  uint64
}

func (a addRegion) message() *message {
	m := newMessage(msgAddRegion)
	order.PutUint16(m[2:], a.index)
	order.PutUint64(m[4:], a.size)
	return m
}

func (m *message) addRegion() addRegion {
	return addRegion{index: order.Uint16(m[2:]), size: order.Uint64(m[4:])}
}

// addRing comes with the ring's eventfd.
type addRing struct {
	flags      uint16
	index      uint16
	region     uint16
	offset     uint32
	log2Size   uint8
	headerSize uint16 // private to the slave, before each packet
}

// ringToMaster is the flag of S2M rings.
const ringToMaster = 1

func (a addRing) message() *message {
	m := newMessage(msgAddRing)
	order.PutUint16(m[2:], a.flags)
	order.PutUint16(m[4:], a.index)
	order.PutUint16(m[6:], a.region)
	order.PutUint32(m[8:], a.offset)
	m[12] = a.log2Size
	order.PutUint16(m[13:], a.headerSize)
	return m
}

func (m *message) addRing() addRing {
	return addRing{
		flags:      order.Uint16(m[2:]),
		index:      order.Uint16(m[4:]),
		region:     order.Uint16(m[6:]),
		offset:     order.Uint32(m[8:]),
		log2Size:   m[12],
		headerSize: order.Uint16(m[13:]),
	}
}

// connectMessage makes CONNECT and CONNECTED, which carry the name of the interface.
func connectMessage(t messageType, name string) *message {
	m := newMessage(t)
	putText(m[2:2+nameSize], name)
	return m
}

func (m *message) interfaceName() string { return text(m[2 : 2+nameSize]) }

func disconnectMessage(reason string) *message {
	m := newMessage(msgDisconnect)
	putText(m[6:6+reasonSize], reason)
	return m
}

func (m *message) reason() string { return text(m[6 : 6+reasonSize]) }
