// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"fmt"
	"math/bits"
	"time"
)

// Mode says whether the driver may, must or must not use the UMEM directly.
type Mode int

// The modes of binding.
const (
	// Auto takes zero-copy where the driver has it, else copies. Socket.ZeroCopy
	// tells which it became.
	Auto Mode = iota
	// Copy has the kernel copy every packet, which works with any driver.
	Copy
	// ZeroCopy fails with EOPNOTSUPP where the driver cannot do it.
	ZeroCopy
)

func (m Mode) String() string {
	switch m {
	case Copy:
		return "copy"
	case ZeroCopy:
		return "zero-copy"
	default:
		return "auto"
	}
}

// Defaults of Config.
const (
	DefaultFrameSize   = 4096
	DefaultRingSize    = 2048
	DefaultBindTimeout = 3 * time.Second
)

// MaxFragments is the largest number of frames that make one packet in copy mode
// (MAX_SKB_FRAGS and the head, with the kernel's default configuration).
// Zero-copy drivers may take fewer: xdp-zc-max-segs of the netdev netlink family
// tells.
const MaxFragments = 18

// xdpHeadroom is what the kernel keeps free in front of received packets
// (XDP_PACKET_HEADROOM).
const xdpHeadroom = 256

// Config describes a socket. The zero value is a good one.
type Config struct {
	// FrameSize is the size of a frame in bytes, 2048 or 4096 (a power of two,
	// at most a page). A packet of one frame has at most FrameSize-256-Headroom
	// bytes on receiving.
	FrameSize int
	// Headroom is kept free in front of received packets, on top of the
	// kernel's own 256 bytes.
	Headroom int
	// Frames is the number of frames the socket may use, at least
	// TxSize + 64. By default FillSize + TxSize.
	Frames int
	// Sizes of the rings in entries, powers of two. CompletionSize is at least
	// TxSize.
	RxSize, TxSize, FillSize, CompletionSize int
	// Mode of binding.
	Mode Mode
	// MultiBuffer allows packets of several frames. The XDP program must be
	// loaded with BPF_F_XDP_HAS_FRAGS.
	MultiBuffer bool
	// HugePages asks for pages of 2 MiB from the system's reserve. Where there
	// are not enough, transparent huge pages are asked for, as by default.
	HugePages bool
	// UMEM is memory shared with other sockets. FrameSize, Headroom and
	// HugePages are then the UMEM's, Mode and MultiBuffer those of the first
	// socket that was opened on it. By default the socket makes its own.
	UMEM *UMEM
	// TxBudget is the number of packets that one system call may send in copy
	// mode (XDP_MAX_TX_SKB_BUDGET, Linux 6.17), 32 to TxSize. Zero leaves the
	// kernel's 32. It is ignored where the kernel does not know it.
	TxBudget int
	// BusyPoll lets the caller's system calls drive the driver (Linux 5.11).
	BusyPoll BusyPoll
	// BindTimeout bounds the wait for a queue that is in use. The kernel frees
	// a queue some time after its socket was closed, so that opening it again
	// right away finds it busy.
	BindTimeout time.Duration

	// fail lets tests make a step of opening fail.
	fail func(step string, queue int) error
}

// BusyPoll is the socket's share in preferred busy polling: see
// Documentation/networking/napi.rst. Kick then polls the driver. Raising the
// values needs CAP_NET_ADMIN.
type BusyPoll struct {
	// Duration of one poll, SO_BUSY_POLL, in whole microseconds. Zero turns
	// busy polling off.
	Duration time.Duration
	// Budget is the number of packets per poll, SO_BUSY_POLL_BUDGET.
	Budget int
	// Prefer keeps interrupts off while polls come in time,
	// SO_PREFER_BUSY_POLL.
	Prefer bool
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.FrameSize, DefaultFrameSize)
	def(&c.RxSize, DefaultRingSize)
	def(&c.TxSize, DefaultRingSize)
	def(&c.FillSize, c.RxSize)
	def(&c.CompletionSize, c.TxSize)
	def(&c.Frames, c.FillSize+c.TxSize)
	if c.BindTimeout == 0 {
		c.BindTimeout = DefaultBindTimeout
	}
	return c
}

// minPosted is the least number of frames to receive into.
const minPosted = 64

func (c Config) check() error {
	for _, r := range []struct {
		name string
		size int
	}{{"RX", c.RxSize}, {"TX", c.TxSize}, {"FILL", c.FillSize}, {"COMPLETION", c.CompletionSize}} {
		if r.size < 1 || r.size > 1<<20 || bits.OnesCount(uint(r.size)) != 1 {
			return fmt.Errorf("%s ring of %d entries: not a power of two up to 2^20", r.name, r.size)
		}
	}
	if c.CompletionSize < c.TxSize {
		return fmt.Errorf("COMPLETION ring of %d entries is smaller than the TX ring of %d: transmission could stall",
			c.CompletionSize, c.TxSize)
	}
	if c.Frames < c.TxSize+minPosted {
		return fmt.Errorf("%d frames are too few for a TX ring of %d and %d frames to receive into", c.Frames, c.TxSize, minPosted)
	}
	if c.TxBudget != 0 && (c.TxBudget < leastTxBudget || c.TxBudget > c.TxSize) {
		return fmt.Errorf("TX budget %d is not between %d and the TX ring's %d", c.TxBudget, leastTxBudget, c.TxSize)
	}
	return nil
}
