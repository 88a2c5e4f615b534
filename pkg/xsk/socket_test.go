// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestForwardingBetweenSocketsOfOneUMEM(t *testing.T) {
	netns(t)
	source, left := pair(t, "left", pairOptions{})
	right, sink := pair(t, "right", pairOptions{})
	u, err := NewUMEM(Config{Frames: 2 * 2 * 256})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	small := Config{RxSize: 256, TxSize: 256}
	from, to := source.open(t, 0, small), sink.open(t, 0, small)
	small.UMEM = u
	in, out := left.open(t, 0, small), right.open(t, 0, small)

	const packets = 20_000
	var sent, received int
	buf, burst := make([]Desc, 32), make([]Desc, 64)
	r := rand.New(rand.NewPCG(7, 8))
	deadline := time.Now().Add(10 * time.Second)
	for received < packets && time.Now().Before(deadline) {
		for i := r.IntN(40); i > 0 && sent < packets && sent-received < 200; i-- {
			if transmit(from, frame(64+sent%1400, sent)) != nil {
				break
			}
			sent++
		}
		if _, err := forward(in, out, burst[:1+r.IntN(63)]); err != nil {
			t.Fatal(err)
		}
		n := to.Receive(buf)
		for _, d := range buf[:n] {
			want := frame(64+received%1400, received)
			if string(to.Frame(d)) != string(want) {
				t.Fatalf("packet %d is not the one that was sent", received)
			}
			received++
		}
		to.Recycle(buf[:n])
	}
	if received < packets {
		t.Errorf("%d of %d packets arrived", received, sent)
	}
	for in.Pending()+out.Pending() > 0 && time.Now().Before(deadline) {
		if err := errors.Join(in.Kick(), out.Kick()); err != nil {
			t.Fatal(err)
		}
	}
	conserved(t, u, 0, in, out)

	// A socket that leaves gives its frames back.
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	conserved(t, u, 0, out)
	if err := u.Close(); err == nil {
		t.Error("the UMEM was closed under a socket")
	}
	again := left.open(t, 0, small)
	if err := transmit(from, frame(100, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(again); err != nil {
		t.Error(err)
	}
}

func TestUMEMDoesNotPromiseMoreThanItHas(t *testing.T) {
	netns(t)
	a, b := pair(t, "veth", pairOptions{})
	u, err := NewUMEM(Config{Frames: 6000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	a.open(t, 0, Config{UMEM: u})
	if _, err := Open(b.index, 0, Config{UMEM: u}); err == nil || !strings.Contains(err.Error(), "1904 left") {
		t.Errorf("error %v", err)
	}
	if u.Available() != 6000-2048 {
		t.Errorf("%d frames are free", u.Available())
	}
}

func TestBurstsLargerThanTheRings(t *testing.T) {
	netns(t)
	a, b := pair(t, "burst", pairOptions{})
	from := a.open(t, 0, Config{RxSize: 64, TxSize: 64})
	to := b.open(t, 0, Config{RxSize: 64, TxSize: 64})
	const packets = 5000
	descs, buf := make([]Desc, 0, 128), make([]Desc, 64)
	addrs := make([]uint64, 128)
	sent, received := 0, 0
	deadline := time.Now().Add(5 * time.Second)
	for received < packets && time.Now().Before(deadline) {
		n := from.Alloc(addrs[:min(cap(descs)-len(descs), packets-sent-len(descs))])
		for _, addr := range addrs[:n] {
			copy(from.Buffer(addr), frame(64, sent+len(descs)))
			descs = append(descs, Desc{Addr: addr, Len: 64})
		}
		n = from.Transmit(descs)
		if n > 64 {
			t.Fatalf("a ring of 64 took %d", n)
		}
		sent += n
		descs = append(descs[:0], descs[n:]...)
		if err := from.Kick(); err != nil {
			t.Fatal(err)
		}
		n = to.Receive(buf)
		received += n
		to.Recycle(buf[:n])
	}
	if received != packets {
		t.Errorf("%d of %d packets arrived", received, packets)
	}
	settled(t, from)
	settled(t, to)
}

func TestOneKickSendsAll(t *testing.T) {
	netns(t)
	a, b := pair(t, "kick", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{})
	const packets = 1000 // many times what one system call sends
	addrs, descs := make([]uint64, packets), make([]Desc, packets)
	if n := from.Alloc(addrs); n != packets {
		t.Fatalf("%d frames", n)
	}
	for i, addr := range addrs {
		descs[i] = Desc{Addr: addr, Len: uint32(copy(from.Buffer(addr), frame(64, i)))}
	}
	if n := from.Transmit(descs); n != packets {
		t.Fatalf("%d descriptors were taken", n)
	}
	if err := from.Kick(); err != nil {
		t.Fatal(err)
	}
	got := 0
	deadline := time.Now().Add(2 * time.Second)
	for got < packets && time.Now().Before(deadline) {
		n := to.Receive(descs)
		to.Recycle(descs[:n])
		got += n
	}
	if got != packets {
		t.Errorf("%d of %d packets were sent", got, packets)
	}
	settled(t, from)
}

func TestReceiverThatDoesNotReceive(t *testing.T) {
	netns(t)
	a, b := pair(t, "full", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{RxSize: 32, TxSize: 64, FillSize: 128})
	const packets = 300
	for i := range packets {
		if err := transmit(from, frame(64, i)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := to.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	if st.RxRingFull == 0 || st.RxRingFull > packets-32 {
		t.Errorf("%d packets found the RX ring of 32 full: %+v", st.RxRingFull, st)
	}
	// What was lost is lost, but the sender's frames and the receiver go on.
	got := 0
	buf := make([]Desc, 64)
	for n := to.Receive(buf); n > 0; n = to.Receive(buf) {
		to.Recycle(buf[:n])
		got += n
	}
	if got == 0 || got > 32 {
		t.Errorf("%d packets were on a ring of 32", got)
	}
	if err := transmit(from, frame(99, 1)); err != nil {
		t.Fatal(err)
	}
	if p, err := receive(to); err != nil || len(p) != 99 {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	settled(t, from)
	settled(t, to)
}

func TestReceiverWithoutFrames(t *testing.T) {
	netns(t)
	a, b := pair(t, "dry", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{RxSize: 512, TxSize: 64, FillSize: 512, Frames: 64 + minPosted})
	for i := range 200 {
		if err := transmit(from, frame(64, i)); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := to.Statistics(); err != nil || st.FillEmpty == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	// A flood leaves the other direction its frames.
	if err := transmit(to, frame(99, 1)); err != nil {
		t.Fatal(err)
	}
	if p, err := receive(from); err != nil || len(p) != 99 {
		t.Errorf("%d bytes, %v", len(p), err)
	}
}

func TestPacketTooLargeForAFrameIsCounted(t *testing.T) {
	netns(t)
	a, b := pair(t, "large", pairOptions{mtu: 3000})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{FrameSize: 2048})
	if err := transmit(from, frame(2500, 0)); err != nil {
		t.Fatal(err)
	}
	if err := transmit(from, frame(80, 1)); err != nil {
		t.Fatal(err)
	}
	if p, err := receive(to); err != nil || len(p) != 80 {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	if st, err := to.Statistics(); err != nil || st.RxDropped != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestOpeningAndClosingLeavesNothing(t *testing.T) {
	netns(t)
	a, b := pair(t, "again", pairOptions{})
	from := a.open(t, 0, Config{})
	once := func() {
		s, err := Open(b.index, 0, Config{RxSize: 256, TxSize: 256})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.xsks.Update(uint32(0), uint32(s.FD()), 0); err != nil {
			t.Fatal(err)
		}
		if err := transmit(from, frame(64, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := receive(s); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if registered(t, b.xsks, 0, from) {
			t.Fatal("the closed socket was still in the map")
		}
		if _, err := s.Statistics(); !errors.Is(err, unix.EBADF) {
			t.Fatalf("statistics of a closed socket: %v", err)
		}
	}
	once()
	fds := openFDs(t)
	rings, resident := memory(t)
	if rings < 4 {
		t.Errorf("%d mapped rings found of a socket's 4", rings)
	}
	for range 30 {
		once()
	}
	if n := openFDs(t); n > fds {
		t.Errorf("%d file descriptors, %d before", n, fds)
	}
	leaked(t, rings, resident)
}

func openFDs(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// memory is the number of mapped rings, and the resident memory in KiB.
func memory(t *testing.T) (rings, resident int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "socket:["), pages * os.Getpagesize() >> 10
}

// leaked compares with an earlier reading of memory. The Go heap may have grown
// by some.
func leaked(t *testing.T, rings, resident int) {
	t.Helper()
	r, m := memory(t)
	if r > rings {
		t.Errorf("%d rings are mapped, %d before", r, rings)
	}
	if m > resident+16<<10 {
		t.Errorf("%d KiB resident, %d before", m, resident)
	}
}

func TestBusyQueue(t *testing.T) {
	netns(t)
	a, _ := pair(t, "busy", pairOptions{})
	first, err := Open(a.index, 0, Config{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = Open(a.index, 0, Config{BindTimeout: 30 * time.Millisecond})
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "another AF_XDP socket") {
		t.Errorf("error %v", err)
	}
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("gave up after %s", d)
	}
	closed := make(chan error)
	time.AfterFunc(20*time.Millisecond, func() { closed <- first.Close() })
	second, err := Open(a.index, 0, Config{})
	if err != nil {
		t.Errorf("after the first was closed: %v", err)
	} else {
		second.Close()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	enter := netns(t)
	a, idle := pair(t, "err", pairOptions{})
	u, err := NewUMEM(Config{Frames: 8192})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	a.open(t, 0, Config{UMEM: u})
	for _, c := range []struct {
		name         string
		index, queue int
		cfg          Config
		drop         int // capability
		errno        error
		text         string
	}{
		{"no such interface", 9999, 0, Config{}, 0, unix.ENODEV, "no interface has this index"},
		{"no such queue", a.index, 7, Config{}, 0, unix.EINVAL, "no such queue"},
		{"zero-copy on veth", idle.index, 0, Config{Mode: ZeroCopy}, 0, unix.EOPNOTSUPP, "no zero-copy AF_XDP; use mode auto or copy"},
		{"zero-copy on veth with several frames", idle.index, 0, Config{Mode: ZeroCopy, MultiBuffer: true}, 0, unix.EOPNOTSUPP, "use mode auto or copy"},
		{"same queue and UMEM", a.index, 0, Config{UMEM: u}, 0, unix.EINVAL, "same UMEM has the queue already"},
		{"without CAP_NET_RAW", a.index, 0, Config{}, unix.CAP_NET_RAW, unix.EPERM, "CAP_NET_RAW"},
		{"beyond the locked-memory limit", a.index, 0, Config{RxSize: 8192, TxSize: 8192}, unix.CAP_IPC_LOCK, unix.ENOBUFS, "LimitMEMLOCK"},
		{"odd ring", a.index, 0, Config{RxSize: 100}, 0, nil, "not a power of two"},
		{"small COMPLETION ring", a.index, 0, Config{CompletionSize: 64}, 0, nil, "smaller than the TX ring"},
		{"too few frames", a.index, 0, Config{Frames: 2048}, 0, nil, "too few"},
		{"odd frames", a.index, 0, Config{FrameSize: 3000}, 0, nil, "frame size 3000"},
		{"large frames", a.index, 0, Config{FrameSize: 8192}, 0, nil, "frame size 8192"},
		{"headroom", a.index, 0, Config{Headroom: 4000}, 0, nil, "headroom 4000"},
		{"TX budget", a.index, 0, Config{TxBudget: 31}, 0, nil, "TX budget 31"},
		{"interface index", 0, 0, Config{}, 0, nil, "out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			enter(t)
			if c.cfg.MultiBuffer {
				requireFragments(t)
			}
			if c.drop != 0 {
				dropCapability(t, c.drop)
			}
			c.cfg.BindTimeout = time.Millisecond
			fds := openFDs(t)
			s, err := Open(c.index, c.queue, c.cfg)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if c.errno != nil && !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v", err)
			}
			if n := openFDs(t); n != fds {
				t.Errorf("%d file descriptors, %d before", n, fds)
			}
		})
	}
}

func TestInterfaceThatGoesDown(t *testing.T) {
	netns(t)
	a, b := pair(t, "down", pairOptions{})
	s, peer := a.open(t, 0, Config{}), b.open(t, 0, Config{})
	if err := netlink.LinkSetDown(a.link); err != nil {
		t.Fatal(err)
	}
	if err := transmit(s, frame(64, 0)); !errors.Is(err, ErrLinkDown) {
		t.Errorf("error %v, want ErrLinkDown", err)
	}
	if err := netlink.LinkSetUp(a.link); err != nil {
		t.Fatal(err)
	}
	// What waited is sent, and more.
	if err := transmit(s, frame(65, 1)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{64, 65} {
		if p, err := receive(peer); err != nil || len(p) != want {
			t.Errorf("%d bytes, want %d: %v", len(p), want, err)
		}
	}
}

func TestInterfaceThatIsRemoved(t *testing.T) {
	netns(t)
	a, _ := pair(t, "gone", pairOptions{})
	s := a.open(t, 0, Config{})
	if err := netlink.LinkDel(a.link); err != nil {
		t.Fatal(err)
	}
	var err error
	for deadline := time.Now().Add(2 * time.Second); err == nil && time.Now().Before(deadline); {
		_, err = s.Wait(10 * time.Millisecond) // a signal may end it early
	}
	if !errors.Is(err, ErrLinkGone) {
		t.Errorf("wait: %v, want ErrLinkGone", err)
	}
	if err := transmit(s, frame(64, 0)); !errors.Is(err, ErrLinkGone) {
		t.Errorf("transmit: %v, want ErrLinkGone", err)
	}
}

func TestBusyPollMovesPackets(t *testing.T) {
	netns(t)
	a, b := pair(t, "poll", pairOptions{})
	cfg := Config{BusyPoll: BusyPoll{Duration: 20 * time.Microsecond, Budget: 64, Prefer: true}}
	from, to := a.open(t, 0, cfg), b.open(t, 0, cfg)
	for option, want := range map[int]int{unix.SO_BUSY_POLL: 20, unix.SO_PREFER_BUSY_POLL: 1} {
		if got, err := unix.GetsockoptInt(to.FD(), unix.SOL_SOCKET, option); err != nil || got != want {
			t.Errorf("socket option %d is %d, %v", option, got, err)
		}
	}
	for i := range 100 {
		if err := transmit(from, frame(200, i)); err != nil {
			t.Fatal(err)
		}
		if err := to.Kick(); err != nil {
			t.Fatal(err)
		}
		if p, err := receive(to); err != nil || len(p) != 200 {
			t.Fatalf("%d bytes, %v", len(p), err)
		}
	}
	settled(t, from)
}

func TestSocketWorksFromAnotherNamespace(t *testing.T) {
	netns(t)
	a, b := pair(t, "far", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{})
	errs := make(chan error)
	go func() { // on a thread in the machine's own namespace
		if err := transmit(from, frame(64, 0)); err != nil {
			errs <- err
			return
		}
		_, err := receive(to)
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func TestHugePagesAreAligned(t *testing.T) {
	for _, frames := range []int{1, 511, 512, 513, 5000} {
		t.Run(strconv.Itoa(frames), func(t *testing.T) {
			u, err := NewUMEM(Config{Frames: frames, HugePages: true})
			if err != nil {
				t.Fatal(err)
			}
			u.mem[0], u.mem[len(u.mem)-1] = 1, 1
			if u.Available() != frames || len(u.mem) != frames*4096 {
				t.Errorf("%d frames in %d bytes", u.Available(), len(u.mem))
			}
			if err := errors.Join(u.Close(), u.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// dropCapability takes a capability from the test's thread, which ends with it.
func dropCapability(t *testing.T, capability int) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
}
