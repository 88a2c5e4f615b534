// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/cpu"
)

// Mode is what an interface's packets are. Both ends must agree.
type Mode uint8

// The modes. Punting, the third one of the protocol, is VPP's own affair.
const (
	// Ethernet packets are whole Ethernet frames without FCS.
	Ethernet Mode = iota
	// IP packets are IPv4 and IPv6 packets without link-layer header.
	IP
)

func (m Mode) String() string {
	switch m {
	case Ethernet:
		return "ethernet"
	case IP:
		return "ip"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Config describes an interface. The zero value is an Ethernet interface with
// id 0 and one ring each way, without a secret.
type Config struct {
	// ID tells the interfaces of one socket apart. Both ends use the same.
	ID   uint32
	Mode Mode
	// Name is told to the peer, for its operator. At most 31 bytes of it.
	Name string
	// Secret must be the same at both ends; at most 24 bytes. A master without
	// one accepts any.
	Secret string

	// RxRings and TxRings, as seen from this end, at most 256. The slave makes as
	// many as both ends allow, a master says how many it allows. Default: 1.
	RxRings, TxRings int
	// RingSize is the number of descriptors in each ring, a power of two up to
	// 16384. The smaller of both ends' sizes is used. Default: 1024.
	RingSize int
	// BufferSize of each descriptor, in bytes: a multiple of 64 up to 32768. It is
	// the slave's; a master ignores its own. Larger packets are chains of
	// buffers. Peers may not accept buffers larger than their own. Default: 2048.
	BufferSize int

	// AllowUnsealed lets a master accept memory that the slave can take away at
	// any time: that of VPP and DPDK in zero-copy mode with huge pages. See
	// Conn.Guard for what that costs.
	AllowUnsealed bool
}

// Limits of the protocol, as VPP and DPDK have them too.
const (
	maxRings        = 256
	maxRegions      = 256
	maxLog2RingSize = 14
	maxBufferSize   = 1 << 15
)

func (c Config) withDefaults() (Config, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.RxRings, 1)
	def(&c.TxRings, 1)
	def(&c.RingSize, 1024)
	def(&c.BufferSize, 2048)
	switch {
	case cpu.IsBigEndian:
		return c, errors.New("memif: big-endian machines are not supported")
	case c.Mode > IP:
		return c, fmt.Errorf("memif: %v is not supported", c.Mode)
	case len(c.Secret) > secretSize:
		return c, fmt.Errorf("memif: a secret of %d bytes is too long, at most %d", len(c.Secret), secretSize)
	case c.RxRings < 1 || c.RxRings > maxRings || c.TxRings < 1 || c.TxRings > maxRings:
		return c, fmt.Errorf("memif: %d and %d rings, must be 1 to %d", c.RxRings, c.TxRings, maxRings)
	case c.RingSize < 2 || c.RingSize > 1<<maxLog2RingSize || c.RingSize&(c.RingSize-1) != 0:
		return c, fmt.Errorf("memif: ring size %d, must be a power of two from 2 to %d", c.RingSize, 1<<maxLog2RingSize)
	case c.BufferSize < 64 || c.BufferSize > maxBufferSize || c.BufferSize%64 != 0:
		return c, fmt.Errorf("memif: buffer size %d, must be a multiple of 64 up to %d", c.BufferSize, maxBufferSize)
	}
	if size := layout(c.RxRings+c.TxRings, c.RingSize, c.BufferSize).total; size > maxMapped {
		return c, fmt.Errorf("memif: rings and buffers take %d bytes, at most %d can be shared", size, uint64(maxMapped))
	}
	return c, nil
}

func (c Config) log2RingSize() uint8 { return uint8(bits.TrailingZeros(uint(c.RingSize))) }

func (c Config) secret() (s [secretSize]byte) {
	copy(s[:], c.Secret)
	return s
}
