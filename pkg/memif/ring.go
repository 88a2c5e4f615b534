// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"sync/atomic"
	"unsafe"
)

// A ring in shared memory, by offset:
//
//	0    cookie  uint32
//	4    flags   uint16  written by the consumer
//	6    head    uint16  \ moved by the slave, which provides buffers:
//	64   tail    uint16  / tail is moved by the master, which uses them
//	128  descriptors
//
// On an S2M ring the slave provides full buffers and the master takes what is
// in them, on an M2S ring it provides empty ones and the master fills them.
// Indices run freely and are masked on access.
const (
	ringCookie     = 0x3E31F20
	ringTailOffset = 64
	ringHeaderSize = 128
	descSize       = 16

	// maskInterrupt is the flag of a consumer that polls.
	maskInterrupt = 1
)

// desc is a descriptor as two words, so that each is read or written in one go:
// flags, region (16 bits each) and length; offset and metadata (32 bits each).
type desc struct{ use, place uint64 }

// descNext is the flag of all buffers of a packet but its last.
const descNext = 1

func makeUse(flags, region uint16, length uint32) uint64 {
	return uint64(flags) | uint64(region)<<16 | uint64(length)<<32
}

func (d desc) next() bool     { return d.use&descNext != 0 }
func (d desc) region() uint16 { return uint16(d.use >> 16) }
func (d desc) length() uint32 { return uint32(d.use >> 32) }
func (d desc) offset() uint32 { return uint32(d.place) }

// ring is this end's access to a ring. Nothing in it but the pointers' targets
// is shared.
type ring struct {
	flagsHead *uint32
	tail      *uint32
	descs     []desc
}

func ringBytes(size int) uint64 { return ringHeaderSize + uint64(size)*descSize }

// openRing takes mem, which is at least ringBytes(size) long and aligned to 8.
func openRing(mem []byte, size int) ring {
	p := unsafe.Pointer(unsafe.SliceData(mem))
	return ring{
		flagsHead: (*uint32)(unsafe.Add(p, 4)),
		tail:      (*uint32)(unsafe.Add(p, ringTailOffset)),
		descs:     unsafe.Slice((*desc)(unsafe.Add(p, ringHeaderSize)), size),
	}
}

func cookieOf(mem []byte) *uint32 { return (*uint32)(unsafe.Pointer(unsafe.SliceData(mem))) }

func (r *ring) size() uint16 { return uint16(len(r.descs)) }

// load reads the descriptor of a free-running index, each word once.
func (r *ring) load(i uint16) desc {
	d := &r.descs[int(i)&(len(r.descs)-1)]
	return desc{use: atomic.LoadUint64(&d.use), place: atomic.LoadUint64(&d.place)}
}

// slot is where the descriptor of a free-running index is written. Plain writes
// are in order with the atomic ones that publish the index.
func (r *ring) slot(i uint16) *desc { return &r.descs[int(i)&(len(r.descs)-1)] }

func (r *ring) loadHead() uint16    { return uint16(atomic.LoadUint32(r.flagsHead) >> 16) }
func (r *ring) loadTail() uint16    { return uint16(atomic.LoadUint32(r.tail)) }
func (r *ring) moveHead(by uint16)  { atomic.AddUint32(r.flagsHead, uint32(by)<<16) }
func (r *ring) storeTail(to uint16) { atomic.StoreUint32(r.tail, uint32(to)) }

// polled tells whether the consumer wants no interrupts.
func (r *ring) polled() bool { return atomic.LoadUint32(r.flagsHead)&maskInterrupt != 0 }

func (r *ring) setPolled(polled bool) {
	if polled {
		atomic.OrUint32(r.flagsHead, maskInterrupt)
	} else {
		atomic.AndUint32(r.flagsHead, ^uint32(maskInterrupt))
	}
}
