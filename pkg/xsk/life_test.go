// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

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
