// SPDX-License-Identifier: Apache-2.0

package netstack

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

const (
	// burstSize is how many buffers are looked at together.
	burstSize = 128
	// maxPacket is the largest IP packet with an Ethernet header.
	maxPacket = header.EthernetMinimumSize + 1<<16 - 1
	// lingers is how often an empty ring is looked at again before sleeping: signals
	// cost the peer a system call for each burst.
	lingers = 8
)

// receiver takes packets from one ring: it waits, copies a burst out of the shared
// memory, gives the buffers back, and hands the copies to the stack.
type receiver struct {
	link  *link
	conn  *memif.Conn
	queue *memif.RxQueue
	bell  *os.File // a duplicate of the queue's eventfd, for Go's poller
	poll  syscall.RawConn

	views  [burstSize]memif.Packet
	filled int
	copies []*stack.PacketBuffer
}

func newReceiver(l *link, conn *memif.Conn, queue *memif.RxQueue) (*receiver, error) {
	fd, err := unix.FcntlInt(uintptr(queue.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("netstack: duplicate the ring's eventfd: %w", err)
	}
	r := &receiver{link: l, conn: conn, queue: queue, bell: os.NewFile(uintptr(fd), "memif eventfd")}
	if r.poll, err = r.bell.SyscallConn(); err != nil {
		_ = r.bell.Close()
		return nil, fmt.Errorf("netstack: poll the ring's eventfd: %w", err)
	}
	return r, nil
}

// run returns when the connection or ctx has ended.
func (r *receiver) run(ctx context.Context) {
	defer func() { _ = r.bell.Close() }()
	collect := r.collect
	for idle := 0; ctx.Err() == nil; {
		if r.filled = r.queue.Receive(r.views[:]); r.filled > 0 {
			idle = 0
			// The peer may take the memory away if it runs out.
			r.conn.Guard(collect)
			r.queue.Release()
			r.deliver()
			continue
		}
		if idle++; idle < lingers {
			runtime.Gosched()
			continue
		}
		idle = 0
		select {
		case <-r.conn.Done():
			return
		default:
		}
		if r.queue.Arm() && !r.sleep() {
			return
		}
		r.queue.Disarm()
	}
}

// sleep returns when there is a signal, false when it cannot wait any more.
func (r *receiver) sleep() bool {
	// The state is asked for rather than read: a read could block if the peer has
	// made the eventfd so.
	return r.poll.Read(func(fd uintptr) bool {
		state := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(state, 0)
		return n != 0 || err != nil && err != unix.EINTR
	}) == nil
}

// wake ends sleep, for good.
func (r *receiver) wake() { _ = r.bell.Close() }

// collect copies the packets in views.
func (r *receiver) collect() {
	for views := r.views[:r.filled]; len(views) > 0; {
		parts, size := 1, len(views[0].Data)
		for views[parts-1].Next && parts < len(views) {
			size += len(views[parts].Data)
			parts++
		}
		if size <= maxPacket {
			whole := buffer.NewViewSize(size)
			at := whole.AsSlice()
			for i := range views[:parts] {
				at = at[copy(at, views[i].Data):]
			}
			r.copies = append(r.copies, stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(whole)}))
		}
		views = views[parts:]
	}
}

// deliver hands the copies to the stack.
func (r *receiver) deliver() {
	dispatcher := r.link.dispatcher.Load()
	for i, pkt := range r.copies {
		if dispatcher != nil {
			if protocol, ok := r.link.classify(pkt); ok {
				(*dispatcher).DeliverNetworkPacket(protocol, pkt)
			}
		}
		pkt.DecRef()
		r.copies[i] = nil
	}
	r.copies = r.copies[:0]
}

// classify takes the link-layer header off and tells the protocol of what follows,
// false if that is not for this interface.
func (l *link) classify(pkt *stack.PacketBuffer) (tcpip.NetworkProtocolNumber, bool) {
	if l.mode == memif.IP {
		first, ok := pkt.Data().PullUp(1)
		if !ok {
			return 0, false
		}
		pkt.PktType = tcpip.PacketHost
		switch header.IPVersion(first) {
		case header.IPv4Version:
			return header.IPv4ProtocolNumber, true
		case header.IPv6Version:
			return header.IPv6ProtocolNumber, true
		}
		return 0, false
	}
	if !l.ParseHeader(pkt) {
		return 0, false
	}
	frame := header.Ethernet(pkt.LinkHeader().Slice())
	switch to := frame.DestinationAddress(); {
	case to == l.LinkAddress():
		pkt.PktType = tcpip.PacketHost
	case to == header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(to):
		pkt.PktType = tcpip.PacketMulticast
	default:
		return 0, false
	}
	return frame.Type(), true
}

func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	if l.mode == memif.IP {
		return true
	}
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}
