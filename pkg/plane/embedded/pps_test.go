// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	bpflink "github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// flood sends a frame over and over from an interface until it is stopped.
func (n *namespace) flood(t testing.TB, name string, frame []byte) (stop func()) {
	t.Helper()
	fd := n.tap(t, name)
	if err := unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		t.Fatal(err)
	}
	type message struct {
		unix.Msghdr
		len uint32
		_   uint32
	}
	var messages [64]message
	iov := unix.Iovec{Base: &frame[0], Len: uint64(len(frame))}
	for i := range messages {
		messages[i].Iov, messages[i].Iovlen = &iov, 1
	}
	var ended atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for !ended.Load() {
			_, _, _ = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages)), uintptr(len(messages)), 0, 0, 0)
		}
	})
	return func() { ended.Store(true); running.Wait() }
}

// drop attaches a program that drops all frames, so that nobody else has work
// with them.
func (n *namespace) drop(t testing.TB, name string) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 1), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	index := n.link(t, name).Attrs().Index
	n.do(t, func() error {
		at, err := bpflink.AttachXDP(bpflink.XDPOptions{Program: prog, Interface: index})
		if err == nil {
			t.Cleanup(func() { at.Close() })
		}
		return err
	})
}

// threadTime is the processor time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// measure reports packets per second, and processor time per packet.
func measure(b *testing.B, packets func() uint64, cpu func() time.Duration) {
	b.Helper()
	time.Sleep(100 * time.Millisecond) // until it runs steadily
	for b.Loop() {
		start, first, used := time.Now(), packets(), cpu()
		time.Sleep(time.Second)
		n := float64(packets() - first)
		b.ReportMetric(n/time.Since(start).Seconds()/1000, "kpps")
		b.ReportMetric(float64((cpu()-used).Nanoseconds())/n, "ns/packet")
	}
	b.ReportMetric(0, "ns/op")
}

func (n *node) cpu() (used time.Duration) {
	n.workers[0].do(func() { used = threadTime() })
	return used
}

// Packets of 64 bytes on the pod's side, by one worker. The bare forwarder is
// what AF_XDP alone can do on the same devices.
func Benchmark64Bytes(b *testing.B) {
	small := inner(50, 1) // and the frame check sequence, which nobody sees
	setup := func(b *testing.B) (*underlay, *node, *namespace) {
		u := newUnderlay(b, 1500)
		n := u.start(b, 0, addrs4, nil)
		pod := newNamespace(b)
		if _, err := n.Join(b.Context(), &plane.Connection{
			ID: "c1", Payload: plane.Ethernet, Client: pod.port(b, "nsm-1"), Endpoint: tunnel(0, 7, addrs4),
		}); err != nil {
			b.Fatal(err)
		}
		n.eventually(b, "next hop", func() bool { return n.uplink.Hops()[0].Valid })
		return u, n, pod
	}
	b.Run("pod to wire", func(b *testing.B) {
		u, n, pod := setup(b)
		u.nodes[1].drop(b, "uplink")
		defer pod.flood(b, "nsm-1", small)()
		measure(b, func() uint64 { return n.Links()[0].Endpoint.Counters.TxPackets }, n.cpu)
	})
	b.Run("wire to pod", func(b *testing.B) {
		u, n, _ := setup(b)
		defer u.nodes[1].flood(b, "uplink", u.forge(small, 7, nil))()
		measure(b, func() uint64 { return n.Links()[0].Client.Counters.TxPackets }, n.cpu)
	})
	b.Run("wire to pod, trains", func(b *testing.B) {
		u, n, _ := setup(b)
		defer u.nodes[1].flood(b, "uplink", u.forge(finished(small), 7, nil))()
		measure(b, func() uint64 { return n.Links()[0].Endpoint.Counters.RxPackets }, n.cpu)
	})
	for _, mode := range []string{"bare AF_XDP, forward", "bare AF_XDP, receive", "bare AF_XDP, transmit"} {
		b.Run(mode, func(b *testing.B) { bare(b, mode) })
	}
}

// finished is an inner packet with its UDP checksum, as sockets send it: those
// make trains.
func finished(frame []byte) []byte {
	f := bytes.Clone(frame)
	var sum uint32
	for i := 14 + 12; i+1 < len(f); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	sum += unix.IPPROTO_UDP + uint32(len(f)-34)
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(f[40:], ^uint16(sum+sum>>16))
	return f
}

// bare forwards between an uplink and a veth without looking at the packets.
func bare(b *testing.B, mode string) {
	u := newUnderlay(b, 1500)
	frame := u.forge(inner(50, 1), 7, nil)
	index := u.nodes[0].link(b, "uplink").Attrs().Index
	xsks := attachXDP(b, u.nodes[0], index)
	var s *xsk.Socket
	u.nodes[0].do(b, func() (err error) {
		if s, err = xsk.Open(index, 0, xsk.Config{TxBudget: 256}); err != nil {
			return err
		}
		return xsks.Update(uint32(0), uint32(s.FD()), ebpf.UpdateAny)
	})
	defer s.Close()
	if mode == "bare AF_XDP, transmit" {
		u.nodes[1].drop(b, "uplink")
	} else {
		defer u.nodes[1].flood(b, "uplink", frame)()
		if mode == "bare AF_XDP, forward" {
			u.nodes[1].drop(b, "uplink")
		}
	}
	var count, cpu atomic.Uint64
	var ended atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var descs [burstSize]xsk.Desc
		var addrs [burstSize]uint64
		for turn := 0; !ended.Load(); turn++ {
			var n int
			switch mode {
			case "bare AF_XDP, transmit":
				n = s.Alloc(addrs[:])
				for i, addr := range addrs[:n] {
					copy(s.Buffer(addr), frame)
					descs[i] = xsk.Desc{Addr: addr, Len: uint32(len(frame))}
				}
				s.Transmit(descs[:n])
			case "bare AF_XDP, forward":
				n = s.Receive(descs[:])
				s.Recycle(descs[s.Transmit(descs[:n]):n])
			default:
				n = s.Receive(descs[:])
				s.Recycle(descs[:n])
			}
			_ = s.Kick()
			if n == 0 {
				_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			}
			count.Add(uint64(n))
			if turn%64 == 0 {
				cpu.Store(uint64(threadTime()))
			}
		}
	})
	measure(b, count.Load, func() time.Duration { return time.Duration(cpu.Load()) })
	ended.Store(true)
	running.Wait()
}
