// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// relayed makes a relay to a new address, and returns it with both addresses and
// what it says of pairs that part.
func relayed(t testing.TB) (r *Relay, at, to Address, parted chan error) {
	t.Helper()
	dir := t.TempDir()
	at, to = Address{Socket: filepath.Join(dir, "at")}, Address{Socket: filepath.Join(dir, "to")}
	parted = make(chan error, 64)
	r, err := NewRelay(at, to, func(err error) { parted <- err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, at, to, parted
}

func TestRelayedPeersMeetAgainAndAgain(t *testing.T) {
	_, at, to, parted := relayed(t)
	slave, err := Slave(at, Config{RxRings: 2, TxRings: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	var before int
	for round := range 4 {
		// The master's socket goes, too, and comes after the slave.
		connected := make(chan *Conn)
		go func() {
			c, _ := slave.Connect(within(t))
			connected <- c
		}()
		l, err := Listen(to)
		if err != nil {
			t.Fatal(err)
		}
		master, err := l.Interface(Config{RxRings: 2, TxRings: 2})
		if err != nil {
			t.Fatal(err)
		}
		m, err := master.Connect(within(t))
		if err != nil {
			t.Fatal(err)
		}
		s := <-connected
		if s == nil {
			t.Fatal("the slave did not connect")
		}
		for q := range 2 {
			if err := carry(s.Tx()[q], m.Rx()[q], 100, func(i int) int { return 60 + i }); err != nil {
				t.Error(err)
			}
			if err := carry(m.Tx()[q], s.Rx()[q], 100, func(i int) int { return 60 + i*20 }); err != nil {
				t.Error(err)
			}
		}
		first, second := m, s
		if round%2 == 1 {
			first, second = s, m
		}
		first.Close()
		select {
		case <-second.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("one end left and the other did not notice")
		}
		second.Close()
		var said *DisconnectError
		if err := <-parted; !errors.As(err, &said) && !errors.Is(err, ErrPeerGone) {
			t.Errorf("parted: %v", err)
		}
		l.Close()
		if round == 0 {
			before = openFDs(t)
		} else {
			eventually(t, "no descriptor is left", func() bool { return openFDs(t) <= before })
		}
	}
}

// TestRelayClosed: the pair parts, and nothing is left.
func TestRelayClosed(t *testing.T) {
	before := openFDs(t)
	r, at, to, _ := relayed(t)
	l, err := Listen(to)
	if err != nil {
		t.Fatal(err)
	}
	master, err := l.Interface(Config{})
	if err != nil {
		t.Fatal(err)
	}
	slave, err := Slave(at, Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, s := join(t, master, slave)
	r.Close()
	<-m.Done()
	<-s.Done()
	m.Close()
	s.Close()
	l.Close()
	slave.Close()
	if got := openFDs(t); got > before {
		t.Errorf("%d descriptors, were %d", got, before)
	}
	if _, err := net.DialUnix("unixpacket", nil, at.unix()); err == nil {
		t.Error("the socket is still there")
	}
}

// line is one message of a dialogue.
type line struct {
	master bool // says it
	m      *message
	fds    []int
	size   int
}

func dialogue(memory, event int) []line {
	ack := newMessage(msgAck)
	return []line{
		{master: true, m: hello{minVersion: version, maxVersion: version, maxLog2RingSize: 10}.message()},
		{m: initiation{version: version}.message()},
		{master: true, m: ack},
		{m: addRegion{size: 4096}.message(), fds: []int{memory}},
		{master: true, m: ack},
		{m: addRing{flags: ringToMaster, log2Size: 4}.message(), fds: []int{event}},
		{master: true, m: ack},
		{m: addRing{log2Size: 4}.message(), fds: []int{event}},
		{master: true, m: ack},
		{m: connectMessage(msgConnect, "a")},
		{master: true, m: connectMessage(msgConnected, "b")},
	}
}

// stage is a relay between two peers that the test plays itself.
type stage struct {
	*Relay
	slave, master *net.UnixConn
	parted        chan error
}

func newStage(t *testing.T) *stage {
	t.Helper()
	r, at, to, parted := relayed(t)
	s := &stage{Relay: r, parted: parted}
	s.meet(t, at, to)
	return s
}

// meet connects both peers to the relay.
func (s *stage) meet(t *testing.T, at, to Address) {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", to.unix())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if s.slave, err = net.DialUnix("unixpacket", nil, at.unix()); err != nil {
		t.Fatal(err)
	}
	if s.master, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	for _, sock := range []*net.UnixConn{s.slave, s.master} {
		_ = sock.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { sock.Close() })
	}
}

// say passes a line from one peer and returns what the other one gets.
func (s *stage) say(t *testing.T, l line) (*message, error) {
	t.Helper()
	from, to := s.slave, s.master
	if l.master {
		from, to = to, from
	}
	size := messageSize
	if l.size > 0 {
		size = l.size
	}
	b := append(l.m[:], make([]byte, 100)...)[:size]
	if _, _, err := from.WriteMsgUnix(b, unix.UnixRights(l.fds...), nil); err != nil {
		t.Fatal(err)
	}
	m, fds, err := receive(to)
	defer closeAll(fds)
	if err == nil && *m != *l.m {
		t.Errorf("%v became %v", l.m.kind(), m.kind())
	}
	if err == nil && len(fds) != len(l.fds) {
		t.Errorf("%v with %d descriptors came with %d", m.kind(), len(l.fds), len(fds))
	}
	return m, err
}

// TestRelayFaults ends the dialogue of two peers at each of its lines in each
// way that there is.
func TestRelayFaults(t *testing.T) {
	event, err := makeEventfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	good := memory(t, 4096, unix.MFD_ALLOW_SEALING)
	lines := dialogue(good, event)
	base := openFDs(t)
	for at := range lines {
		for _, fault := range []struct {
			name string
			do   func(s *stage, l line)
			want string
		}{
			{"the slave goes", func(s *stage, _ line) { s.slave.Close() }, "gone"},
			{"the master goes", func(s *stage, _ line) { s.master.Close() }, "gone"},
			{"a short message", func(s *stage, l line) { s.raw(l, make([]byte, 100)) }, "message of 100 bytes"},
			{"a long message", func(s *stage, l line) { s.raw(l, make([]byte, 200)) }, "message of 129 bytes"},
			{"an unknown type", func(s *stage, l line) { s.raw(l, newMessage(99)[:]) }, "unexpected message type 99"},
			{"descriptors too many", func(s *stage, l line) { s.raw(l, l.m[:], event, event) }, "2 file descriptors"},
			{"a hundred descriptors", func(s *stage, l line) { s.raw(l, l.m[:], hundred(event)...) }, "too many"},
			{"the other side's words", func(s *stage, l line) {
				m := newMessage(msgHello)
				if l.master {
					m = newMessage(msgInit)
				}
				s.raw(l, m[:])
			}, "unexpected"},
			{"DISCONNECT", func(s *stage, l line) { s.raw(l, disconnectMessage("enough")[:]) }, "enough"},
		} {
			t.Run(fmt.Sprintf("%d, %v/%s", at, lines[at].m.kind(), fault.name), func(t *testing.T) {
				s := newStage(t)
				for _, l := range lines[:at] {
					if _, err := s.say(t, l); err != nil {
						t.Fatal(err)
					}
				}
				fault.do(s, lines[at])
				if err := <-s.parted; err == nil || !strings.Contains(err.Error(), fault.want) {
					t.Errorf("parted: %v, want %s", err, fault.want)
				}
				for _, sock := range []*net.UnixConn{s.slave, s.master} {
					for {
						_, fds, err := receive(sock)
						closeAll(fds)
						if err != nil {
							break // closed, after DISCONNECT perhaps
						}
					}
					sock.Close()
				}
				s.Close()
				if got := openFDs(t); got > base {
					t.Errorf("%d descriptors, were %d", got, base)
				}
			})
		}
	}
}

// raw writes anything as whoever has the line.
func (s *stage) raw(l line, b []byte, fds ...int) {
	from := s.slave
	if l.master {
		from = s.master
	}
	_, _, _ = from.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
}

func TestRelayTimesOut(t *testing.T) {
	event, err := makeEventfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	lines := dialogue(memory(t, 4096, unix.MFD_ALLOW_SEALING), event)
	for _, at := range []int{0, 1, 5, len(lines) - 1} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dir := t.TempDir()
			from, to := Address{Socket: filepath.Join(dir, "at")}, Address{Socket: filepath.Join(dir, "to")}
			parted := make(chan error, 1)
			r, err := newRelay(from, to, func(err error) { parted <- err }, 300*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			s := &stage{Relay: r}
			s.meet(t, from, to)
			for _, l := range lines[:at] {
				if _, err := s.say(t, l); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-parted; err == nil || !strings.Contains(err.Error(), "not finished in time") {
				t.Errorf("parted: %v", err)
			}
			for _, sock := range []*net.UnixConn{s.slave, s.master} {
				if m, _, err := receive(sock); err != nil || m.kind() != msgDisconnect {
					t.Errorf("told %v, %v", m, err)
				}
			}
		})
	}
}

// A master that never comes costs nothing but the slave's time, and pairs that
// stand are not timed.
func TestRelayWithoutMaster(t *testing.T) {
	dir := t.TempDir()
	at, to := Address{Socket: filepath.Join(dir, "at")}, Address{Socket: filepath.Join(dir, "to")}
	parted := make(chan error, 64)
	r, err := newRelay(at, to, func(err error) { parted <- err }, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	slave, err := Slave(at, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = slave.Connect(ctx) })
	if err := <-parted; !errors.Is(err, unix.ENOENT) {
		t.Errorf("parted: %v", err)
	}
	cancel()
	wg.Wait()

	l, err := Listen(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	master, err := l.Interface(Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, s := join(t, master, slave)
	time.Sleep(400 * time.Millisecond) // longer than a handshake may take
	if err := errors.Join(m.Err(), s.Err()); err != nil {
		t.Error(err)
	}
}
