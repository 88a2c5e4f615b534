// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Desc is an entry of the RX and TX rings, as the kernel lays it out
// (struct xdp_desc): Len bytes at Addr in the UMEM.
type Desc struct {
	Addr    uint64
	Len     uint32
	Options uint32
}

// Continued is the option of all descriptors of a packet but its last.
const Continued = unix.XDP_PKT_CONTD

// ring is one of a socket's rings, which have one producer and one consumer
// each: this process and the kernel. Indices run freely and are masked on
// access. Whoever produces writes the entries before it publishes its index,
// whoever consumes reads the index before the entries; Go's atomics are
// sequentially consistent, which is stronger than the acquire and release that
// this needs.
type ring[T Desc | uint64] struct {
	producer, consumer, flags *uint32 // in memory shared with the kernel
	entries                   []T     // likewise
	mask                      uint32

	local  uint32 // our own index
	cached uint32 // what the kernel's index was when last looked at

	mapping unsafe.Pointer
	length  uintptr
}

// at is the entry of a free-running index.
func (r *ring[T]) at(i uint32) *T { return &r.entries[i&r.mask] }

// ready is the number of entries that can be consumed, at most limit. It looks
// at the kernel's index only if it knows of less than want. Limit is what can
// be there at most: an index beyond it is not believed.
func (r *ring[T]) ready(want, limit uint32) uint32 {
	n := r.cached - r.local
	if n < want {
		r.cached = atomic.LoadUint32(r.producer)
		n = r.cached - r.local
	}
	if n > limit {
		n = limit
		r.cached = r.local + limit
	}
	return n
}

// consumed gives n entries back to the kernel.
func (r *ring[T]) consumed(n uint32) {
	r.local += n
	atomic.StoreUint32(r.consumer, r.local)
}

// produced hands n entries to the kernel, written at local and after.
func (r *ring[T]) produced(n uint32) {
	r.local += n
	atomic.StoreUint32(r.producer, r.local)
}

// drained tells whether the kernel has consumed all that was produced.
func (r *ring[T]) drained() bool { return atomic.LoadUint32(r.consumer) == r.local }

// needWakeup tells whether the kernel waits for a system call.
func (r *ring[T]) needWakeup() bool {
	return atomic.LoadUint32(r.flags)&unix.XDP_RING_NEED_WAKEUP != 0
}

func (r *ring[T]) mmap(fd, size int, off unix.XDPRingOffset, pgoff int64) error {
	var entry T
	length := uintptr(off.Desc) + uintptr(size)*unsafe.Sizeof(entry)
	p, err := unix.MmapPtr(fd, pgoff, nil, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	r.mapping, r.length = p, length
	r.producer = (*uint32)(unsafe.Add(p, off.Producer))
	r.consumer = (*uint32)(unsafe.Add(p, off.Consumer))
	r.flags = (*uint32)(unsafe.Add(p, off.Flags))
	r.entries = unsafe.Slice((*T)(unsafe.Add(p, off.Desc)), size)
	r.mask = uint32(size - 1)
	return nil
}

func (r *ring[T]) munmap() {
	if r.mapping != nil {
		_ = unix.MunmapPtr(r.mapping, r.length)
		*r = ring[T]{}
	}
}
