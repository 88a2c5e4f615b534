// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// generator sends copies of one IP packet out of an interface as fast as it is
// told to: an AF_PACKET socket past the queueing discipline, 64 packets a
// system call, on a thread of its own.
type generator struct {
	fd   int
	msgs [batch]mmsghdr
	// What the kernel reads through pointers in msgs.
	iov    unix.Iovec
	to     unix.RawSockaddrLinklayer
	packet []byte
}

const batch = 64

// mmsghdr is struct mmsghdr of sendmmsg(2) on 64-bit machines.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   uint32
}

// newGenerator sends packet from e to the link-layer address mac, which is
// ignored on links that carry IP packets.
func newGenerator(e *end, mac []byte, packet []byte) (*generator, error) {
	g := &generator{fd: -1, packet: packet}
	err := netns.Do(e.ns, func() (err error) {
		if g.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(g.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
			unix.SetsockoptInt(g.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20))
	})
	if err != nil {
		g.close()
		return nil, fmt.Errorf("open a packet socket in %s: %w", e.ns, err)
	}
	g.to = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(e.index), Halen: uint8(len(mac))}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&g.to.Protocol))[:], unix.ETH_P_IP)
	copy(g.to.Addr[:], mac)
	g.iov = unix.Iovec{Base: &packet[0], Len: uint64(len(packet))}
	for i := range g.msgs {
		g.msgs[i].hdr = unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&g.to)), Namelen: unix.SizeofSockaddrLinklayer, Iov: &g.iov, Iovlen: 1,
		}
	}
	return g, nil
}

func (g *generator) close() { _ = unix.Close(g.fd) }

// run sends at a rate in packets/s, or as fast as it can if that is infinite,
// and returns how many packets it offered to the interface. The thread stays
// pinned to a CPU if cpu is not negative.
func (g *generator) run(rate float64, d time.Duration, cpu int) (offered int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: affinity and timer slack end with the thread.
		runtime.LockOSThread()
		if cpu >= 0 {
			var cpus unix.CPUSet
			cpus.Set(cpu)
			_ = unix.SchedSetaffinity(0, &cpus)
		}
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		offered, err = g.send(rate, d)
	}()
	<-done
	return offered, err
}

func (g *generator) send(rate float64, d time.Duration) (offered int, err error) {
	started := time.Now()
	for {
		elapsed := time.Since(started)
		if elapsed >= d {
			return offered, nil
		}
		due := batch
		if !math.IsInf(rate, 1) {
			due = int(rate*elapsed.Seconds()) - offered
			if due < 1 {
				// Long enough for half a batch, short against any queue.
				nap := min(max(batch/2/rate*1e9, 2e3), 100e3)
				ts := unix.NsecToTimespec(int64(nap))
				_ = unix.Nanosleep(&ts, nil)
				continue
			}
		}
		n, err := g.burst(min(due, batch))
		if err != nil {
			return offered, err
		}
		offered += n
	}
}

// burst offers packets to the interface. One that the interface drops because
// its queue is full counts as offered.
func (g *generator) burst(n int) (int, error) {
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(g.fd), uintptr(unsafe.Pointer(&g.msgs[0])), uintptr(n), 0, 0, 0)
	switch errno {
	case 0:
		return int(sent), nil
	case unix.ENOBUFS:
		return 1, nil
	case unix.EINTR, unix.EAGAIN:
		return 0, nil
	default:
		return 0, fmt.Errorf("send packets: %w", errno)
	}
}

// sinkPort of the pods that packets are sent to.
const sinkPort = 9009

// udpPacket is an IPv4 packet with a UDP datagram. UDP's checksum is left out,
// as RFC 768 allows.
func udpPacket(from, to netip.Addr, port uint16, payload []byte) []byte {
	p := make([]byte, 28, 28+len(payload))
	total := len(p) + len(payload)
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(total))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[20:], 40000)
	binary.BigEndian.PutUint16(p[22:], port)
	binary.BigEndian.PutUint16(p[24:], uint16(total-20))
	return append(p, payload...)
}

// headers of an Ethernet frame with a UDP datagram in IPv4.
const headers = 14 + 20 + 8
