// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tally"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

// From a pod to the tunnel:
//
//  1. receive reads a burst, each packet with its Offload straight into a UMEM
//     frame with room in front, and what a large one has beyond that into the
//     worker's spill.
//  2. pass gives the burst to the tunnel, at once after a large packet.
//
// And from the tunnel to the pod:
//
//  1. send has the burst's TCP segments and UDP datagrams put together.
//  2. Each packet that comes of it is written by one call, from the UMEM frames
//     that its pieces lie in. So is a packet that is larger than a UMEM frame,
//     from where its two pieces lie.

// kernelPort is a TAP or TUN device in a pod. Packets come and go with an
// Offload in front, so that the pod's kernel may leave large ones whole.
type kernelPort struct {
	plane *Plane
	port  plane.Kernel
	link  packet.Link
	fd    int
	train bool // the device takes trains of UDP datagrams

	worker *worker // that reads the device; nil unless connected
	slot   int     // of the worker
	peer   sink    // what the pod sends goes there; set while connected

	counters []tally.Counters // by worker
}

func newKernel(p *Plane, c *plane.Connection, port plane.Kernel) (end, error) {
	if err := podif.Check(port); err != nil {
		return nil, err
	}
	k := &kernelPort{plane: p, port: port, link: packet.Ethernet, counters: make([]tally.Counters, len(p.workers))}
	if c.Payload == plane.IP {
		k.link = packet.IP
	}
	d := tun.Device{
		NetNS: port.NetNS,
		Name:  port.Name,
		Alias: port.Alias,
		Link:  k.link,
		MTU:   c.MTU,
	}
	if k.link == packet.Ethernet {
		d.MAC = podif.MAC(c.ID, port)
	}
	var err error
	if k.fd, err = d.Open(p.fault); err != nil {
		return nil, fmt.Errorf("%s: %w", port, err)
	}
	k.train = tun.Trains(k.fd)
	return k, nil
}

func (k *kernelPort) connect(_ context.Context, other end) error {
	peer, ok := other.(sink)
	if !ok {
		return nil // the other port reads the device itself
	}
	if err := k.plane.fault("attach"); err != nil {
		return err
	}
	k.peer = peer
	w := k.plane.leastLoaded()
	var err error
	if k.slot, err = w.attach(k.fd, k); err != nil {
		k.plane.unload(w)
		return fmt.Errorf("%s: %w", k.port, err)
	}
	k.worker = w
	return nil
}

func (k *kernelPort) disconnect() {
	if k.worker == nil {
		return
	}
	k.worker.detach(k.fd, k.slot)
	k.plane.unload(k.worker)
	k.worker = nil
	k.plane.settle()
}

func (k *kernelPort) close() error {
	if err := unix.Close(k.fd); err != nil {
		return fmt.Errorf("close %s: %w", k.port, err)
	}
	return nil
}

// keep makes the port one of another connection with the same payload.
func (k *kernelPort) keep(c *plane.Connection) error {
	h, err := netns.NetlinkHandle(k.port.NetNS)
	if err != nil {
		return fmt.Errorf("%s: %w", k.port, err)
	}
	defer h.Close()
	return podif.Configure(h, k.port.Name, podif.Settings{MTU: c.MTU})
}

func (k *kernelPort) count() plane.Counters { return tally.Sum(k.counters) }

var _ insider = (*kernelPort)(nil)

// inside hands the device to a tunnel. A kernelPort is connected to one port at
// a time, so nobody else reads it.
func (k *kernelPort) inside(limit int) (wireguard.Inside, error) {
	i, err := tun.NewInside(k.fd, k.port.Name, limit, &k.counters[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.port, err)
	}
	return i, nil
}

// receive reads a burst that the pod has sent and gives it to the peer. It runs
// on the goroutine of the port's worker.
func (k *kernelPort) receive(w *worker, events uint32) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		// The device is gone, with the pod.
		w.poll.remove(k.fd)
		return
	}
	c := &k.counters[w.id]
	n, packets, bytes, more := 0, 0, 0, true
	for more && packets < burstSize {
		f := &w.burst[n]
		var large bool
		f.addr, more = w.take()
		if !more {
			// Rather lose packets than turn in circles.
			if read(k.fd, w.spill.rest()) {
				c.Dropped(1)
			}
			break
		}
		if large, more = k.read(w, f); !more {
			w.give(f.addr)
			break
		}
		n++
		packets++
		bytes += f.len()
		if large {
			k.pass(w, n)
			n = 0
		}
	}
	k.pass(w, n)
	if packets > 0 {
		c.Received(packets, bytes)
	}
}

// pass gives the peer the first n packets of the burst.
func (k *kernelPort) pass(w *worker, n int) {
	if n == 0 {
		return
	}
	k.peer.send(w, w.burst[:n])
	w.giveBurst(n)
}

// read reads one packet. Large ones use the worker's spill, which is free again
// when the packet was passed on.
func (k *kernelPort) read(w *worker, f *frame) (large, ok bool) {
	f.buf = w.sock.Buffer(f.addr)
	f.start = headroom
	room := f.buf[headroom-packet.OffloadLen:]
	spill := w.spill.rest()
	w.iov[0], w.iov[1] = iovec(room), iovec(spill)
	r, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(k.fd), uintptr(unsafe.Pointer(&w.iov)), 2)
	n := int(r)
	if errno != 0 || n < packet.OffloadLen {
		return false, false
	}
	f.offload.Decode(room)
	f.end = headroom - packet.OffloadLen + min(n, len(room))
	f.more = spill[:n-min(n, len(room))]
	return len(f.more) > 0, true
}

// send writes a burst to the device, segments that follow each other as one
// packet. Its bytes go from where they lie to the kernel.
func (k *kernelPort) send(w *worker, burst []frame) {
	if last := len(burst) - 1; len(burst[last].more) > 0 {
		if last > 0 {
			k.send(w, burst[:last])
		}
		k.sendLarge(w, &burst[last])
		return
	}
	c := &w.coalesce
	c.Trains = k.train
	c.Reset(k.link)
	for i := range burst {
		c.Add(burst[i].bytes())
	}
	c.Finish()
	var packets, bytes, drops int
	for i := range c.Packets() {
		p := c.Packet(i)
		first := &burst[p.First]
		b := first.buf[first.start-packet.OffloadLen:]
		p.Offload.Put(b)
		b = b[:packet.OffloadLen+len(c.Bytes(p, p.First))]
		ok := false
		if p.Segments == 1 {
			ok = write(k.fd, b)
		} else {
			ok = k.gather(w, p, b)
		}
		if !ok {
			drops += p.Segments
			continue
		}
		packets++
		bytes += p.Len
	}
	n := &k.counters[w.id]
	n.Sent(packets, bytes)
	n.Dropped(drops)
}

// sendLarge writes a packet that has more.
func (k *kernelPort) sendLarge(w *worker, f *frame) {
	n := &k.counters[w.id]
	first := f.buf[f.start-packet.OffloadLen : f.end]
	f.offload.Put(first)
	w.iov[0], w.iov[1] = iovec(first), iovec(f.more)
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(k.fd), uintptr(unsafe.Pointer(&w.iov)), 2)
	if errno != 0 {
		n.Dropped(1)
		return
	}
	n.Sent(1, f.len())
}

// gather writes a packet of several segments, of which first is the beginning.
func (k *kernelPort) gather(w *worker, p *packet.Packet, first []byte) bool {
	w.iov[0] = iovec(first)
	n := 1
	for i := p.First; i != p.Last; n++ {
		i = w.coalesce.Next(i)
		w.iov[n] = iovec(w.coalesce.Bytes(p, i))
	}
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(k.fd), uintptr(unsafe.Pointer(&w.iov)), uintptr(n))
	return errno == 0
}

func iovec(b []byte) unix.Iovec {
	return unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
}

// read and write do not block, and so the Go scheduler is not told of them.
func read(fd int, b []byte) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return errno == 0
}

func write(fd int, b []byte) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return errno == 0
}
