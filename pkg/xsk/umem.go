// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePageSize = 2 << 20

// The owner of a frame. From firstSocket on, two values for each socket of the
// UMEM: posted for receiving, and under way out.
const (
	ownerCaller uint8 = iota
	ownerFree
	firstSocket
)

// maxSockets is how many sockets the owner's byte can tell apart.
const maxSockets = (256 - int(firstSocket)) / 2

// UMEM is packet memory and the list of its free frames. It belongs to the one
// goroutine that owns its sockets.
type UMEM struct {
	mem       []byte
	mapped    uintptr // length of the mapping
	huge      bool
	frameSize int
	headroom  int
	shift     uint // log2(frameSize)

	free  []uint64 // stack of frames without an owner, full capacity from the start
	owner []uint8  // by frame number

	sockets  [maxSockets]*Socket
	promised int // sum of the sockets' Config.Frames
}

// NewUMEM maps memory of the given number of frames for sockets that share it.
// FrameSize, Headroom and HugePages of the Config apply; Frames is for all
// sockets together.
func NewUMEM(cfg Config) (*UMEM, error) {
	if cfg.FrameSize == 0 {
		cfg.FrameSize = DefaultFrameSize
	}
	size := cfg.FrameSize
	if size < 2048 || size > unix.Getpagesize() || bits.OnesCount(uint(size)) != 1 {
		return nil, fmt.Errorf("make UMEM: frame size %d: not a power of two between 2048 and the page size", size)
	}
	if cfg.Headroom < 0 || cfg.Headroom >= size-xdpHeadroom {
		return nil, fmt.Errorf("make UMEM: headroom %d does not fit into frames of %d", cfg.Headroom, size)
	}
	if cfg.Frames < 1 || cfg.Frames > 1<<24 {
		return nil, fmt.Errorf("make UMEM: %d frames", cfg.Frames)
	}
	u := &UMEM{
		frameSize: size,
		headroom:  cfg.Headroom,
		shift:     uint(bits.TrailingZeros(uint(size))),
		free:      make([]uint64, cfg.Frames),
		owner:     make([]uint8, cfg.Frames),
	}
	if err := u.mmap(cfg.Frames*size, cfg.HugePages); err != nil {
		return nil, fmt.Errorf("make UMEM of %d KiB: %w", cfg.Frames*size>>10, err)
	}
	for i := range u.free { // lowest address on top of the stack
		u.free[i] = uint64(cfg.Frames-1-i) << u.shift
		u.owner[i] = ownerFree
	}
	return u, nil
}

// mmap maps size bytes, from the reserve of huge pages if asked to and possible,
// else so that transparent huge pages can back them.
func (u *UMEM) mmap(size int, huge bool) error {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	length := uintptr(size+hugePageSize-1) &^ (hugePageSize - 1)
	if huge {
		if p, err := unix.MmapPtr(-1, 0, nil, length, prot, flags|unix.MAP_HUGETLB); err == nil {
			mem := unsafe.Slice((*byte)(p), length)
			// A container may be allowed fewer huge pages than the system has:
			// that shows at the first touch, as SIGBUS unless the pages are
			// asked for here. Linux before 5.14 cannot, and takes ordinary ones.
			if err := unix.Madvise(mem, unix.MADV_POPULATE_WRITE); err == nil {
				u.mem, u.mapped, u.huge = mem[:size], length, true
				return nil
			}
			_ = unix.MunmapPtr(p, length)
		}
	}
	if size < hugePageSize {
		length = uintptr(size+unix.Getpagesize()-1) &^ uintptr(unix.Getpagesize()-1)
		p, err := unix.MmapPtr(-1, 0, nil, length, prot, flags)
		if err != nil {
			return err
		}
		u.mem, u.mapped = unsafe.Slice((*byte)(p), size), length
		return nil
	}
	// Huge pages need an aligned start: map more, and give back the ends.
	p, err := unix.MmapPtr(-1, 0, nil, length+hugePageSize, prot, flags)
	if err != nil {
		return err
	}
	head := -uintptr(p) & (hugePageSize - 1)
	start := unsafe.Add(p, head)
	if head > 0 {
		_ = unix.MunmapPtr(p, head)
	}
	if tail := hugePageSize - head; tail > 0 {
		_ = unix.MunmapPtr(unsafe.Add(start, length), tail)
	}
	u.mem, u.mapped = unsafe.Slice((*byte)(start), size), length
	_ = unix.Madvise(unsafe.Slice((*byte)(start), length), unix.MADV_HUGEPAGE) // a kernel without THP says EINVAL
	return nil
}

// HugePages tells whether the memory came from the system's reserve of huge
// pages.
func (u *UMEM) HugePages() bool { return u.huge }

// Available is the number of free frames.
func (u *UMEM) Available() int { return len(u.free) }

// Close unmaps the memory. It fails while a socket uses it. No slice into it
// may be used afterwards.
func (u *UMEM) Close() error {
	for _, s := range u.sockets {
		if s != nil {
			return errors.New("close UMEM: in use by a socket")
		}
	}
	if u.mem == nil {
		return nil
	}
	p := unsafe.Pointer(unsafe.SliceData(u.mem))
	u.mem, u.free = nil, u.free[:0]
	if err := unix.MunmapPtr(p, u.mapped); err != nil {
		return fmt.Errorf("close UMEM: %w", err)
	}
	return nil
}

// join reserves a place and frames for a socket. A UMEM cannot promise more
// frames than it has.
func (u *UMEM) join(s *Socket, frames int) error {
	if u.mem == nil {
		return errors.New("UMEM is closed")
	}
	if u.promised+frames > len(u.owner) {
		return fmt.Errorf("UMEM of %d frames has %d left, %d wanted", len(u.owner), len(u.owner)-u.promised, frames)
	}
	for i, other := range u.sockets {
		if other == nil {
			u.sockets[i] = s
			u.promised += frames
			s.posted = firstSocket + 2*uint8(i)
			s.sending = s.posted + 1
			return nil
		}
	}
	return fmt.Errorf("UMEM has %d sockets, no more are possible", maxSockets)
}

// leave takes back the frames that a closed socket's rings held. They go to the
// bottom of the stack, to be used last: a zero-copy driver may write into them
// until the kernel has released the queue.
func (u *UMEM) leave(s *Socket, frames int) {
	u.sockets[(s.posted-firstSocket)/2] = nil
	u.promised -= frames
	var held []uint64
	for i, o := range u.owner {
		if o == s.posted || o == s.sending {
			u.owner[i] = ownerFree
			held = append(held, uint64(i)<<u.shift)
		}
	}
	u.free = slices.Insert(u.free, 0, held...)
}

// bound is a socket of this UMEM other than s that is bound, or nil.
func (u *UMEM) bound(s *Socket) *Socket {
	for _, other := range u.sockets {
		if other != nil && other != s && other.bound {
			return other
		}
	}
	return nil
}

// move makes the frame at addr the property of to, if it is from's.
func (u *UMEM) move(addr uint64, from, to uint8) bool {
	i := addr >> u.shift
	if i >= uint64(len(u.owner)) || u.owner[i] != from {
		return false
	}
	u.owner[i] = to
	return true
}

// release puts a frame of from onto the free list.
func (u *UMEM) release(addr uint64, from uint8) bool {
	if !u.move(addr, from, ownerFree) {
		return false
	}
	// Never more frames than capacity: every one is counted by its owner.
	u.free = append(u.free, addr>>u.shift<<u.shift)
	return true
}

// take moves the top of the free list to a new owner. The list is not empty.
func (u *UMEM) take(to uint8) uint64 {
	n := len(u.free) - 1
	addr := u.free[n]
	u.free = u.free[:n]
	u.owner[addr>>u.shift] = to
	return addr
}

// inside tells whether a descriptor's bytes lie within one frame.
func (u *UMEM) inside(d Desc) bool {
	offset := d.Addr & uint64(u.frameSize-1)
	return d.Addr < uint64(len(u.mem)) && offset+uint64(d.Len) <= uint64(u.frameSize)
}
