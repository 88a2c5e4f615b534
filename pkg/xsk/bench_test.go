// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"bufio"
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

// BenchmarkForward moves packets from one veth pair to another without a copy:
// a generator with a socket of its own on another thread, the forwarder on the
// benchmark's, and an interface of the kernel as the sink. One operation is one
// packet.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			netns(b)
			source, left := pair(b, "left", pairOptions{})
			addPair(b, "right", pairOptions{})
			right := newDevice(b, "righta", pairOptions{})
			in, out := forwarder(b, left, right)
			gen := source.open(b, 0, Config{})
			var stop atomic.Bool
			done := make(chan error)
			go func() { done <- generate(gen, frame(size, 0), &stop) }()
			burst := make([]Desc, 64)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			b.ResetTimer()
			for moved := 0; moved < b.N; {
				n, err := forward(in, out, burst)
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

// forwarder opens a socket on each device, with frames in common.
func forwarder(b *testing.B, left, right *device) (in, out *Socket) {
	u, err := NewUMEM(Config{Frames: 4 * DefaultRingSize})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { u.Close() })
	cfg := Config{UMEM: u}
	return left.open(b, 0, cfg), right.open(b, 0, cfg)
}

// generate sends copies of a packet until told to stop.
func generate(s *Socket, packet []byte, stop *atomic.Bool) error {
	runtime.LockOSThread()
	addrs, descs := make([]uint64, 64), make([]Desc, 64)
	for i := range s.umem.owner {
		copy(s.Buffer(uint64(i)<<s.umem.shift), packet)
	}
	for !stop.Load() {
		n := s.Alloc(addrs)
		for i, addr := range addrs[:n] {
			descs[i] = Desc{Addr: addr, Len: uint32(len(packet))}
		}
		taken := s.Transmit(descs[:n])
		s.Free(addrs[taken:n])
		if err := s.Kick(); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkBesideTestPMD compares this package with DPDK's net_af_xdp driver on
// the same interfaces: testpmd in txonly mode generates packets of 64 bytes,
// then in turns a loop of this package and testpmd in io mode carry them from
// one veth pair to another, and the sink's counter decides. Generator and
// forwarder have a CPU each. Run it on a quiet machine:
//
//	go test -run '^$' -bench BesideTestPMD -benchtime 1x ./pkg/xsk
//
// testpmd runs as
//
//	dpdk-testpmd --no-huge --no-pci --no-shconf --no-telemetry -m 256 --lcores '(0,1)@0' \
//	  --vdev net_af_xdp0,iface=<source> -- --forward-mode=txonly --txpkts=64 --auto-start --total-num-mbufs=16384 -i
//	dpdk-testpmd ... --lcores '(0,1)@1' --vdev net_af_xdp0,iface=<left> --vdev net_af_xdp1,iface=<right> -- --forward-mode=io ...
//
// The generator may be the limit: "offered" is what it sent while the better of
// the two ran.
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
	const rounds, window = 5, 1500 * time.Millisecond
	var ours, theirs, offered []float64
	for range rounds {
		rate, offer := oursBesideTestPMD(b, window)
		ours, offered = append(ours, rate), append(offered, offer)
		stop := testpmd(b, 1, "io", "--burst=64", "leftb", "righta")
		rate, _ = rates(b, window)
		theirs = append(theirs, rate)
		stop()
	}
	b.Logf("packets/s by round: ours %.0f, testpmd %.0f, offered %.0f", ours, theirs, offered)
	for _, r := range [][]float64{ours, theirs, offered} {
		slices.Sort(r)
	}
	b.ReportMetric(ours[rounds/2], "ours-packets/s")
	b.ReportMetric(theirs[rounds/2], "testpmd-packets/s")
	b.ReportMetric(offered[rounds/2], "offered-packets/s")
	b.ReportMetric(ours[rounds/2]/theirs[rounds/2], "ratio")
	b.ReportMetric(0, "ns/op")
}

// oursBesideTestPMD forwards from leftb to righta for a while on CPU 1.
func oursBesideTestPMD(b *testing.B, window time.Duration) (rate, offer float64) {
	var stop atomic.Bool
	done := make(chan error)
	left, right := attachDevice(b, "leftb", pairOptions{all: true}), attachDevice(b, "righta", pairOptions{all: true})
	u, err := NewUMEM(Config{Frames: 4 * DefaultRingSize})
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{UMEM: u}
	in, out := left.open(b, 0, cfg), right.open(b, 0, cfg)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread's affinity ends with it
		var cpus unix.CPUSet
		cpus.Set(1)
		err := unix.SchedSetaffinity(0, &cpus)
		burst := make([]Desc, 64)
		for err == nil && !stop.Load() {
			_, err = forward(in, out, burst)
		}
		done <- err
	}()
	rate, offer = rates(b, window)
	stop.Store(true)
	if err := errors.Join(<-done, in.Close(), out.Close(), u.Close()); err != nil {
		b.Fatal(err)
	}
	left.detach()
	right.detach()
	return rate, offer
}

// rates measures for a while, after the start: packets/s at the sink, and those
// that the generator sent.
func rates(b *testing.B, window time.Duration) (sink, source float64) {
	count := func(name string) uint64 {
		l, err := netlink.LinkByName(name)
		if err != nil {
			b.Fatal(err)
		}
		if name == "lefta" {
			return l.Attrs().Statistics.TxPackets
		}
		return l.Attrs().Statistics.RxPackets
	}
	time.Sleep(window / 5) // past the start
	start, rx, tx := time.Now(), count("rightb"), count("lefta")
	time.Sleep(window)
	elapsed := time.Since(start).Seconds()
	return float64(count("rightb")-rx) / elapsed, float64(count("lefta")-tx) / elapsed
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
