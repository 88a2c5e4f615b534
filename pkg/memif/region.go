// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxMapped limits what a peer can make us map for one connection: what 32-bit
// offsets can reach.
const maxMapped = 1 << 32

// region is shared memory, mapped.
type region struct{ mem []byte }

// slice is length bytes at offset, or nil if the region has less.
func (r *region) slice(offset, length uint32) []byte {
	end := uint64(offset) + uint64(length)
	if end > uint64(len(r.mem)) {
		return nil
	}
	return r.mem[offset:end:end]
}

func (r *region) holds(addr uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(r.mem)))
	return addr >= start && addr < start+uintptr(len(r.mem))
}

func mapShared(fd int, size uint64) (region, error) {
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return region{}, fmt.Errorf("map %d bytes of shared memory: %w", size, err)
	}
	return region{mem}, nil
}

func (r *region) unmap() {
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
		r.mem = nil
	}
}

// openRegion maps a peer's memory. It must be of the size that the peer claims
// and must stay so: reading past the end of a file that was truncated
// raises SIGBUS. So the file has to be sealed against shrinking, and the size is
// looked at after that.
func openRegion(fd int, size uint64, allowUnsealed bool) (region, error) {
	if size == 0 || size > maxMapped {
		return region{}, violation("region of %d bytes", size)
	}
	if err := seal(fd); err != nil && !allowUnsealed {
		return region{}, violation("region not sealed against shrinking (zero-copy of huge pages?): %v", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return region{}, violation("region's descriptor: %v", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || uint64(st.Size) < size {
		return region{}, violation("region of %d bytes in a file of %d", size, st.Size)
	}
	r, err := mapShared(fd, size)
	if err != nil {
		return region{}, violation("%v", err)
	}
	return r, nil
}

// seal makes sure that the file cannot shrink. Whoever made it may have left the
// seal to us.
func seal(fd int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return fmt.Errorf("not a memfd: %w", err)
	}
	if seals&unix.F_SEAL_SHRINK != 0 {
		return nil
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	return err
}

// makeRegion makes memory of our own to share. The caller closes fd once the
// peer has it.
func makeRegion(size uint64) (fd int, r region, err error) {
	fd, err = unix.MemfdCreate("memif region 0", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, region{}, fmt.Errorf("make shared memory: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return -1, region{}, fmt.Errorf("make %d bytes of shared memory: %w", size, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		unix.Close(fd)
		return -1, region{}, fmt.Errorf("seal shared memory: %w", err)
	}
	if r, err = mapShared(fd, size); err != nil {
		unix.Close(fd)
		return -1, region{}, err
	}
	return fd, r, nil
}

// plan says where things are in a slave's region: all S2M rings, all M2S rings,
// then each ring's buffers in the same order.
type plan struct {
	ringStride, buffers, bufferStride, total uint64
	ringSize, bufferSize                     int
}

func layout(rings, ringSize, bufferSize int) plan {
	p := plan{ringSize: ringSize, bufferSize: bufferSize}
	p.ringStride = (ringBytes(ringSize) + 127) &^ 127
	p.buffers = (uint64(rings)*p.ringStride + 4095) &^ 4095
	p.bufferStride = uint64(ringSize) * uint64(bufferSize)
	p.total = p.buffers + uint64(rings)*p.bufferStride
	return p
}
