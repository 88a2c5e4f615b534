// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// TestReconnects ends the connection 100 times from either side, with packets
// in flight and views in hand, and counts what is left.
func TestReconnects(t *testing.T) {
	master, slave := ends(t, Config{RingSize: 32}, Config{RingSize: 32})
	m, s := join(t, master, slave)
	m.Close()
	s.Close()
	before := openFDs(t)
	maps := mappings(t)
	for i := range 200 {
		m, s := join(t, master, slave)
		if n := s.Tx()[0].Send([]Packet{{Data: pattern(uint64(i), 100)}}); n != 1 {
			t.Fatal("not sent")
		}
		in := make([]Packet, 1)
		if n := m.Rx()[0].Receive(in); n != 1 {
			t.Fatal("not received")
		}
		if i%2 == 0 {
			s.Close()
			<-m.Done()
			if err := checkPattern(in[0].Data, uint64(i)); err != nil {
				t.Errorf("a view in hand when the slave went: %v", err)
			}
			if n := m.Rx()[0].Receive(in); n != 0 {
				t.Error("a packet after the end")
			}
			m.Close()
		} else {
			m.Close()
			<-s.Done()
			s.Close()
		}
		if n := m.Rx()[0].Receive(in) + m.Tx()[0].Send(in); n != 0 {
			t.Error("packets after Close")
		}
		m.Rx()[0].Release()
	}
	if after := openFDs(t); after > before {
		t.Errorf("%d file descriptors before, %d after", before, after)
	}
	if after := mappings(t); after > maps {
		t.Errorf("%d mappings before, %d after", maps, after)
	}
	if s := master.Statistics(); s.Connections != 201 || s.Violations != 0 {
		t.Errorf("master: %+v", s)
	}
}

func mappings(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "memif region")
}

func TestSlaveWaitsForItsMaster(t *testing.T) {
	a := Address{Socket: t.TempDir() + "/later.sock"}
	slave, err := Slave(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := slave.Connect(within(t))
		if err == nil {
			defer c.Close()
		}
		done <- err
	}()
	eventually(t, "an attempt failed", func() bool { return errors.Is(slave.Statistics().LastError, unix.ENOENT) })
	l, err := Listen(a)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	master, err := l.Interface(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := master.Connect(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOneSocketServesSeveralInterfaces(t *testing.T) {
	l, a := listen(t)
	for id := range uint32(5) {
		master, err := l.Interface(Config{ID: id, Name: fmt.Sprint("m", id)})
		if err != nil {
			t.Fatal(err)
		}
		slave, err := Slave(a, Config{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if _, s := join(t, master, slave); s.Peer().Interface != fmt.Sprint("m", id) {
			t.Errorf("slave %d is connected to %v", id, s.Peer())
		}
	}
	if _, err := l.Interface(Config{ID: 2}); !errors.Is(err, ErrInUse) {
		t.Errorf("second interface with an id: %v", err)
	}
	second, err := Slave(a, Config{ID: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := second.Connect(ctx); err == nil || !strings.Contains(err.Error(), "already connected") {
		t.Errorf("second peer: %v", err)
	}
}

func TestAbstractSocketInItsNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	ns, remove, err := netns.New()
	if err != nil {
		t.Skip(err)
	}
	defer remove()
	a := Address{Socket: fmt.Sprintf("@/tmp/memif/%d/memif.socket", os.Getpid()), NetNS: ns}
	l, err := Listen(a)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	master, err := l.Interface(Config{})
	if err != nil {
		t.Fatal(err)
	}
	slave, err := Slave(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, s := join(t, master, slave)
	if err := carry(s.Tx()[0], m.Rx()[0], 10, func(int) int { return 100 }); err != nil {
		t.Error(err)
	}
	here, err := Slave(Address{Socket: a.Socket}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := here.Connect(ctx); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("in the namespace of the test: %v", err)
	}
}

func TestStaleSocketFileIsReplaced(t *testing.T) {
	a := Address{Socket: t.TempDir() + "/memif.sock"}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: a.Socket}); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	l, err := Listen(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(a); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a socket in use: %v", err)
	}
	l.Close()
	if _, err := os.Stat(a.Socket); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
}

// TestSleepingReceiver sends to a receiver that sleeps in epoll, and then ends
// the connection under it.
func TestSleepingReceiver(t *testing.T) {
	m, s := connected(t, Config{})
	for name, way := range map[string]struct {
		tx *TxQueue
		rx *RxQueue
	}{"slave to master": {s.Tx()[0], m.Rx()[0]}, "master to slave": {m.Tx()[0], s.Rx()[0]}} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			in := make([]Packet, 4)
			readable := func(ms int) bool {
				fds := []unix.PollFd{{Fd: int32(way.rx.FD()), Events: unix.POLLIN}}
				n, _ := unix.Poll(fds, ms)
				return n == 1
			}
			one := []Packet{{Data: make([]byte, 60)}}
			way.tx.Send(one)
			if readable(0) {
				t.Error("a signal in polling mode")
			}
			if way.rx.Arm() {
				t.Error("may sleep though a packet waits")
			}
			way.rx.Receive(in)
			way.rx.Release()
			if !way.rx.Arm() {
				t.Error("may not sleep though nothing waits")
			}
			way.tx.Send(one)
			if !readable(5000) {
				t.Fatal("no signal")
			}
			way.rx.Drain()
			if readable(0) || way.rx.Arm() {
				t.Error("Drain leaves signals, or Arm misses the packet")
			}
			way.rx.Disarm()
			if way.rx.Receive(in) != 1 {
				t.Error("no packet")
			}
		})
	}
	for _, rx := range []*RxQueue{m.Rx()[0], s.Rx()[0]} {
		rx.Release()
		rx.Arm()
	}
	m.end(ErrClosed)
	eventually(t, "both are woken by the end", func() bool {
		fds := []unix.PollFd{{Fd: int32(m.Rx()[0].FD()), Events: unix.POLLIN}, {Fd: int32(s.Rx()[0].FD()), Events: unix.POLLIN}}
		n, _ := unix.Poll(fds, 100)
		return n == 2
	})
}

func TestCloseEndsWaiting(t *testing.T) {
	master, slave := ends(t, Config{}, Config{ID: 1})
	errs := make(chan error, 2)
	for _, i := range []*Interface{master, slave} {
		go func() {
			_, err := i.Connect(context.Background())
			errs <- err
		}()
	}
	eventually(t, "the slave was refused", func() bool { return slave.Statistics().LastError != nil })
	if _, err := slave.Connect(t.Context()); !errors.Is(err, ErrInUse) {
		t.Errorf("second Connect: %v", err)
	}
	master.Close()
	slave.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("Connect: %v", err)
		}
	}
}
