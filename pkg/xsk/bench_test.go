// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestPacketPathDoesNotAllocate counts allocations of every call that is made
// for packets, on real sockets.
func TestPacketPathDoesNotAllocate(t *testing.T) {
	netns(t)
	a, b := pair(t, "alloc", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{})
	addrs, descs, burst := make([]uint64, 16), make([]Desc, 16), make([]Desc, 64)
	packet := frame(64, 0)
	received := 0
	allocs := testing.AllocsPerRun(1000, func() {
		n := from.Alloc(addrs)
		for i, addr := range addrs[:n] {
			copy(from.Buffer(addr), packet)
			descs[i] = Desc{Addr: addr, Len: 64}
		}
		from.Free(addrs[8:n])
		taken := from.Transmit(descs[:min(n, 8)])
		if err := from.Kick(); err != nil || taken != 8 {
			t.Fatalf("%d taken, %v", taken, err)
		}
		if _, err := to.Wait(time.Millisecond); err != nil {
			t.Fatal(err)
		}
		n = to.Receive(burst)
		for _, d := range burst[:n] {
			received += len(to.Frame(d)) / 64
		}
		half := n / 2
		to.Recycle(burst[:half])
		to.Recycle(burst[half+to.Transmit(burst[half:n]) : n])
		if err := errors.Join(to.Kick(), to.Err()); err != nil {
			t.Fatal(err)
		}
		from.Recycle(burst[:from.Receive(burst)])
		_ = to.Pending()
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a turn of 8 packets", allocs)
	}
	if received < 8*1000 {
		t.Errorf("%d packets received", received)
	}
}

// BenchmarkForwardCost is what forwarding costs its own thread, without a copy
// between two veth pairs: the packets are generated before, in rounds, outside the
// measured time. One operation is one packet; kick-ns is the part of it spent in
// Kick, that is in the kernel.
func BenchmarkForwardCost(b *testing.B) {
	for _, c := range []struct{ size, burst, budget int }{
		{64, 1, 0}, {64, 4, 0}, {64, 16, 0}, {64, 64, 0}, {64, 64, 256}, {1400, 64, 0},
	} {
		b.Run(fmt.Sprintf("%d bytes/bursts of %d/budget %d", c.size, c.burst, c.budget), func(b *testing.B) {
			netns(b)
			source, in, out := forwarder(b, Config{TxBudget: c.budget})
			gen := source.open(b, 0, Config{})
			packet, burst := frame(c.size, 0), make([]Desc, c.burst)
			var spent, kick time.Duration
			moved := 0
			b.ReportAllocs()
			for moved < b.N {
				for range 16 {
					if err := generate(gen, packet); err != nil {
						b.Fatal(err)
					}
				}
				start := time.Now()
				for {
					n := in.Receive(burst)
					if n == 0 && out.Pending() == 0 {
						break
					}
					sent := out.Transmit(burst[:n])
					in.Recycle(burst[sent:n])
					moved += sent
					before := time.Now()
					if err := out.Kick(); err != nil {
						b.Fatal(err)
					}
					kick += time.Since(before)
				}
				spent += time.Since(start)
			}
			perPacket := float64(spent.Nanoseconds()) / float64(moved)
			b.ReportMetric(perPacket, "ns/op")
			b.ReportMetric(float64(kick.Nanoseconds())/float64(moved), "kick-ns")
			b.ReportMetric(1e9/perPacket, "packets/s")
		})
	}
}

// BenchmarkForward moves packets from one veth pair to another without a copy,
// while a generator on another thread sends as fast as it can. One operation is
// one packet.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			netns(b)
			source, in, out := forwarder(b, Config{})
			gen := source.open(b, 0, Config{})
			var stop atomic.Bool
			done := make(chan error)
			go func() {
				runtime.LockOSThread()
				packet := frame(size, 0)
				var err error
				for err == nil && !stop.Load() {
					err = generate(gen, packet)
				}
				done <- err
			}()
			burst := make([]Desc, 64)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			b.ResetTimer()
			for moved := 0; moved < b.N; {
				n, err := gather(in, out, burst)
				if err != nil {
					b.Fatal(err)
				}
				moved += n
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
			stop.Store(true)
			if err := <-done; err != nil {
				b.Error(err)
			}
		})
	}
}

// gather is forward with bursts: it looks at the RX ring less often while there
// is little on it, since each look takes the ring's index from the CPU that
// writes it, and each burst costs a system call.
func gather(in, out *Socket, burst []Desc) (int, error) {
	n, err := forward(in, out, burst)
	if n < len(burst)/2 {
		for end := time.Now().Add(pause); time.Now().Before(end); {
			continue
		}
	}
	return n, err
}

const pause = 5 * time.Microsecond

// forwarder makes two veth pairs, and opens a socket on the inner end of each,
// with frames in common. The other end of the first is the source.
func forwarder(b *testing.B, cfg Config) (source *device, in, out *Socket) {
	b.Helper()
	source, left := pair(b, "left", pairOptions{})
	addPair(b, "right", pairOptions{})
	right := newDevice(b, "righta", pairOptions{})
	u, err := NewUMEM(Config{Frames: 4 * DefaultRingSize})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { u.Close() })
	cfg.UMEM = u
	return source, left.open(b, 0, cfg), right.open(b, 0, cfg)
}

// generate sends up to 64 copies of a packet.
func generate(s *Socket, packet []byte) error {
	var addrs [64]uint64
	var descs [64]Desc
	n := s.Alloc(addrs[:])
	for i, addr := range addrs[:n] {
		copy(s.Buffer(addr), packet)
		descs[i] = Desc{Addr: addr, Len: uint32(len(packet))}
	}
	s.Free(addrs[s.Transmit(descs[:n]):n])
	return s.Kick()
}

// BenchmarkBesideTestPMD compares this package with DPDK's net_af_xdp driver on
// the same interfaces: testpmd in txonly mode generates packets of 64 bytes,
// then in turns a loop of this package and testpmd in io mode carry them from
// one veth pair to another, and the sink's counter decides. Generator and
// forwarder have a CPU each:
//
//	go test -run '^$' -bench BesideTestPMD -benchtime 1x ./pkg/xsk
//
// testpmd runs as
//
//	dpdk-testpmd --no-huge --no-pci --no-shconf --no-telemetry -m 256 --lcores '(0,1)@0' \
//	  --vdev net_af_xdp0,iface=<source> -- --forward-mode=txonly --txpkts=64 --auto-start --total-num-mbufs=16384 -i
//	dpdk-testpmd ... --lcores '(0,1)@1' --vdev net_af_xdp0,iface=<left> --vdev net_af_xdp1,iface=<right> -- --forward-mode=io ...
//
// Whatever else runs on the machine only takes away, so each side is given its
// best slice of time; the medians of the slices are logged. "offered" is what
// the generator sent in our best slice: where it equals our figure, the
// generator is the limit.
func BenchmarkBesideTestPMD(b *testing.B) {
	if _, err := exec.LookPath("dpdk-testpmd"); err != nil {
		b.Skip("needs dpdk-testpmd and net_af_xdp (Debian: dpdk)")
	}
	if runtime.NumCPU() < 2 {
		b.Skip("needs two CPUs")
	}
	netns(b)
	addPair(b, "left", pairOptions{})
	addPair(b, "right", pairOptions{})
	stopGenerator := testpmd(b, 0, "txonly", "--txpkts=64", "lefta")
	defer stopGenerator()
	var ours, theirs []slice
	for range 5 {
		ours = append(ours, oursBesideTestPMD(b)...)
		stop := testpmd(b, 1, "io", "--burst=64", "leftb", "righta")
		theirs = append(theirs, slices50ms(b)...)
		stop()
	}
	for _, s := range [][]slice{ours, theirs} {
		slices.SortFunc(s, func(x, y slice) int { return cmp.Compare(x.arrived, y.arrived) })
	}
	n := len(ours)
	b.Logf("median packets/s: ours %.0f, testpmd %.0f", ours[n/2].arrived, theirs[n/2].arrived)
	b.ReportMetric(ours[n-1].arrived, "ours-packets/s")
	b.ReportMetric(theirs[n-1].arrived, "testpmd-packets/s")
	b.ReportMetric(ours[n-1].offered, "offered-packets/s")
	b.ReportMetric(ours[n-1].arrived/theirs[n-1].arrived, "ratio")
	b.ReportMetric(0, "ns/op")
}

// oursBesideTestPMD forwards from leftb to righta for a while on CPU 1.
func oursBesideTestPMD(b *testing.B) []slice {
	left, right := attachDevice(b, "leftb", pairOptions{all: true}), attachDevice(b, "righta", pairOptions{all: true})
	u, err := NewUMEM(Config{Frames: 4 * DefaultRingSize})
	if err != nil {
		b.Fatal(err)
	}
	in, out := left.open(b, 0, Config{UMEM: u}), right.open(b, 0, Config{UMEM: u})
	var stop atomic.Bool
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread's affinity ends with it
		var cpus unix.CPUSet
		cpus.Set(1)
		err := unix.SchedSetaffinity(0, &cpus)
		burst := make([]Desc, 64)
		for err == nil && !stop.Load() {
			_, err = gather(in, out, burst)
		}
		done <- err
	}()
	s := slices50ms(b)
	stop.Store(true)
	if err := errors.Join(<-done, in.Close(), out.Close(), u.Close()); err != nil {
		b.Fatal(err)
	}
	left.detach()
	right.detach()
	return s
}

// slice is what went on in a slice of time, in packets/s.
type slice struct{ arrived, offered float64 }

// slices50ms measures one second, after the start, at the sink and at the source.
func slices50ms(b *testing.B) (s []slice) {
	count := func(name string) *netlink.LinkStatistics {
		l, err := netlink.LinkByName(name)
		if err != nil {
			b.Fatal(err)
		}
		return l.Attrs().Statistics
	}
	time.Sleep(300 * time.Millisecond)
	start, rx, tx := time.Now(), count("rightb").RxPackets, count("lefta").TxPackets
	for range 20 {
		time.Sleep(50 * time.Millisecond)
		end, rxEnd, txEnd := time.Now(), count("rightb").RxPackets, count("lefta").TxPackets
		elapsed := end.Sub(start).Seconds()
		s = append(s, slice{float64(rxEnd-rx) / elapsed, float64(txEnd-tx) / elapsed})
		start, rx, tx = end, rxEnd, txEnd
	}
	return s
}

// testpmd starts DPDK's testpmd on a CPU and waits until it forwards. The
// function returned ends it.
func testpmd(b *testing.B, cpu int, mode, option string, interfaces ...string) (stop func()) {
	b.Helper()
	args := []string{"--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "256", "--lcores", "(0,1)@" + strconv.Itoa(cpu)}
	for i, name := range interfaces {
		args = append(args, "--vdev", fmt.Sprintf("net_af_xdp%d,iface=%s", i, name))
	}
	args = append(args, "--", "--forward-mode="+mode, option, "--auto-start", "--total-num-mbufs=16384", "-i")
	cmd := exec.Command("dpdk-testpmd", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(out)
	for ready := false; !ready; ready = strings.Contains(lines.Text(), "packet forwarding") {
		if !lines.Scan() {
			b.Fatalf("dpdk-testpmd did not start: %v\n%s", cmd.Wait(), text.String())
		}
		fmt.Fprintln(&text, lines.Text())
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, out)
	}()
	return func() {
		fmt.Fprintln(in, "quit")
		<-drained
		if err := cmd.Wait(); err != nil {
			b.Errorf("dpdk-testpmd: %v", err)
		}
	}
}
