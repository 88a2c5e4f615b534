// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestSetCoversAllQueues(t *testing.T) {
	const queues = 4
	for _, c := range []struct {
		name     string
		register func(*testing.T, *Set, *ebpf.Map) error
	}{
		{"a map", func(_ *testing.T, s *Set, m *ebpf.Map) error { return s.Register(m) }},
		{"a pinned map", func(t *testing.T, s *Set, m *ebpf.Map) error {
			dir := t.TempDir()
			if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
				t.Fatalf("mount bpffs: %v", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			path := filepath.Join(dir, "xsks_map")
			if err := m.Pin(path); err != nil {
				t.Fatal(err)
			}
			defer m.Unpin()
			return s.RegisterPinned(path)
		}},
		{"a file descriptor", func(_ *testing.T, s *Set, m *ebpf.Map) error { return s.RegisterFD(m.FD()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			netns(t)
			a, b := pair(t, "set", pairOptions{queues: queues})
			fds := openFDs(t)
			cfg := Config{RxSize: 64, TxSize: 64}
			from, err := OpenSet(a.index, queues, cfg)
			if err != nil {
				t.Fatal(err)
			}
			to, err := OpenSet(b.index, queues, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.register(t, to, b.xsks); err != nil {
				t.Fatal(err)
			}
			for queue, s := range from.Sockets() {
				if s.Queue() != queue {
					t.Errorf("socket %d is on queue %d", queue, s.Queue())
				}
				// veth delivers what leaves by a queue to the same one.
				if err := transmit(s, frame(100+queue, queue)); err != nil {
					t.Fatal(err)
				}
				if p, err := receive(to.Sockets()[queue]); err != nil || len(p) != 100+queue {
					t.Errorf("queue %d: %d bytes, %v", queue, len(p), err)
				}
			}
			// Others may hold a socket open; the map must be rid of it all the same.
			kept, err := unix.Dup(to.Sockets()[1].FD())
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(to.Close(), to.Close()); err != nil {
				t.Error(err)
			}
			for queue := range queues {
				if registered(t, b.xsks, queue, from.Sockets()[0]) {
					t.Errorf("queue %d is still in the map", queue)
				}
			}
			if err := errors.Join(unix.Close(kept), from.Close()); err != nil {
				t.Error(err)
			}
			if n := openFDs(t); n != fds {
				t.Errorf("%d file descriptors, %d before", n, fds)
			}
		})
	}
}

// TestSetIsAllOrNothing fails each step of opening each socket once.
func TestSetIsAllOrNothing(t *testing.T) {
	netns(t)
	const queues = 3
	a, _ := pair(t, "undo", pairOptions{queues: queues})
	u, err := NewUMEM(Config{Frames: queues * 256})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	shared := Config{RxSize: 128, TxSize: 128, UMEM: u}
	own := Config{RxSize: 128, TxSize: 128}

	var steps []string
	shared.fail = func(step string, queue int) error {
		steps = append(steps, step+" of queue "+strconv.Itoa(queue))
		return nil
	}
	set, err := OpenSet(a.index, queues, shared)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if len(steps) != 8*queues {
		t.Fatalf("steps are %q", steps)
	}
	injected := errors.New("injected")
	fds := openFDs(t)
	rings, resident := memory(t)
	for _, bad := range steps {
		for name, cfg := range map[string]Config{"shared": shared, "own": own} {
			cfg.fail = func(step string, queue int) error {
				if bad == step+" of queue "+strconv.Itoa(queue) {
					return injected
				}
				return nil
			}
			if _, err := OpenSet(a.index, queues, cfg); !errors.Is(err, injected) {
				t.Errorf("%s, %s UMEM: error %v", bad, name, err)
			}
			conserved(t, u, 0)
			if n := openFDs(t); n != fds {
				t.Fatalf("%s, %s UMEM: %d file descriptors, %d before", bad, name, n, fds)
			}
		}
	}
	leaked(t, rings, resident)
	shared.fail = nil
	if set, err = OpenSet(a.index, queues, shared); err != nil {
		t.Fatal(err)
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
}

func TestSetThatDoesNotFitItsMap(t *testing.T) {
	netns(t)
	const queues = 3
	a, _ := pair(t, "map", pairOptions{queues: queues})
	set, err := OpenSet(a.index, queues, Config{RxSize: 64, TxSize: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	small, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: queues - 1})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	fds := openFDs(t)
	if err := set.Register(small); err == nil || !strings.Contains(err.Error(), "queue 2 in map of 2 entries") {
		t.Errorf("error %v", err)
	}
	for queue := range queues - 1 {
		if registered(t, small, queue, set.Sockets()[0]) {
			t.Errorf("queue %d was left in the map", queue)
		}
	}
	array, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: queues})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Register(array); err == nil || !strings.Contains(err.Error(), "not an XSKMap") {
		t.Errorf("error %v", err)
	}
	array.Close()
	if err := set.RegisterFD(99999); !errors.Is(err, unix.EBADF) {
		t.Errorf("error %v", err)
	}
	if err := set.RegisterPinned("/nowhere"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v", err)
	}
	if n := openFDs(t); n != fds {
		t.Errorf("%d file descriptors, %d before", n, fds)
	}
}

func TestSetOfTooManyQueues(t *testing.T) {
	netns(t)
	a, _ := pair(t, "many", pairOptions{queues: 2})
	fds := openFDs(t)
	if _, err := OpenSet(a.index, 3, Config{}); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "queue 2") {
		t.Errorf("error %v", err)
	}
	if _, err := OpenSet(a.index, 0, Config{}); err == nil {
		t.Error("a set of no queues was opened")
	}
	if n := openFDs(t); n != fds {
		t.Errorf("%d file descriptors, %d before", n, fds)
	}
	set, err := OpenSet(a.index, 2, Config{BindTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	set.Close()
}
