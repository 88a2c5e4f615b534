// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is a context that is long enough for anything that works.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls a condition.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 10 s: %s", what)
		}
	}
}

// listen makes a listener at a file, and returns its address.
func listen(t testing.TB) (*Listener, Address) {
	t.Helper()
	a := Address{Socket: filepath.Join(t.TempDir(), "memif.sock")}
	l, err := Listen(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, a
}

// ends makes both ends of an interface.
func ends(t testing.TB, masterCfg, slaveCfg Config) (master, slave *Interface) {
	t.Helper()
	l, a := listen(t)
	master, err := l.Interface(masterCfg)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = Slave(a, slaveCfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// join connects two ends.
func join(t testing.TB, master, slave *Interface) (m, s *Conn) {
	t.Helper()
	ctx := within(t)
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { m, err = master.Connect(ctx) })
	s, err2 := slave.Connect(ctx)
	wg.Wait()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); s.Close() })
	return m, s
}

func connected(t testing.TB, cfg Config) (m, s *Conn) {
	t.Helper()
	master, slave := ends(t, cfg, cfg)
	return join(t, master, slave)
}

// pattern is a packet whose bytes tell its number.
func pattern(number uint64, size int) []byte {
	p := make([]byte, max(size, 8))
	binary.LittleEndian.PutUint64(p, number)
	for i := 8; i < len(p); i++ {
		p[i] = byte(number) + byte(i)
	}
	return p
}

func checkPattern(p []byte, number uint64) error {
	if got := binary.LittleEndian.Uint64(p); got != number {
		return fmt.Errorf("packet %d where %d is due", got, number)
	}
	for i := 8; i < len(p); i++ {
		if p[i] != byte(number)+byte(i) {
			return fmt.Errorf("packet %d differs at byte %d of %d", number, i, len(p))
		}
	}
	return nil
}

// carry sends packets of the given sizes, and checks what arrives.
func carry(from *TxQueue, to *RxQueue, total int, size func(i int) int) error {
	const window = 128 // a reflector has only so much room
	var wg sync.WaitGroup
	var arrived atomic.Int64
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; i < total; {
			burst := []Packet{}
			for j := i; j < min(i+7, total, int(arrived.Load())+window); j++ {
				burst = append(burst, Packet{Data: pattern(uint64(j), size(j))})
			}
			n := from.Send(burst)
			i += n
			if n == 0 {
				select {
				case <-from.conn.Done():
					return
				case <-stop:
					return
				case <-time.After(50 * time.Microsecond):
				}
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	pkts := make([]Packet, 64)
	var packet []byte
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; i < total; {
		n := to.Receive(pkts)
		for _, p := range pkts[:n] {
			packet = append(packet, p.Data...)
			if p.Next {
				continue
			}
			if want := max(size(i), 8); len(packet) != want {
				return fmt.Errorf("packet %d has %d bytes instead of %d", i, len(packet), want)
			}
			if err := checkPattern(packet, uint64(i)); err != nil {
				return err
			}
			packet = packet[:0]
			i++
			arrived.Add(1)
		}
		to.Release()
		if n == 0 {
			if err := to.conn.Err(); err != nil {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d of %d packets in 10 s", i, total)
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
	return nil
}

func TestBothRolesCarryPacketsBothWays(t *testing.T) {
	for _, mode := range []Mode{Ethernet, IP} {
		for _, rings := range []int{1, 4} {
			for _, jumbo := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/%d rings/jumbo %v", mode, rings, jumbo), func(t *testing.T) {
					m, s := connected(t, Config{Mode: mode, RxRings: rings, TxRings: rings, RingSize: 64, BufferSize: 512, Name: "eth0"})
					if len(m.Rx()) != rings || len(m.Tx()) != rings || len(s.Rx()) != rings || len(s.Tx()) != rings {
						t.Fatalf("rings: %d %d %d %d", len(m.Rx()), len(m.Tx()), len(s.Rx()), len(s.Tx()))
					}
					if m.Peer().Interface != "eth0" || s.Peer() != m.Peer() {
						t.Errorf("peers: %v, %v", m.Peer(), s.Peer())
					}
					size := func(i int) int { return 64 + i%400 }
					if jumbo {
						size = func(i int) int { return 64 + i*97%9000 }
					}
					errs := make(chan error)
					for q := range rings {
						go func() { errs <- carry(s.Tx()[q], m.Rx()[q], 500, size) }()
						go func() { errs <- carry(m.Tx()[q], s.Rx()[q], 500, size) }()
					}
					for range 2 * rings {
						if err := <-errs; err != nil {
							t.Error(err)
						}
					}
					ms, ss := m.iface.Statistics(), s.iface.Statistics()
					for q := range rings {
						if ms.Rx[q] != ss.Tx[q] || ms.Tx[q] != ss.Rx[q] || ms.Rx[q].Packets != 500 {
							t.Errorf("ring %d: master %v %v, slave %v %v", q, ms.Rx[q], ms.Tx[q], ss.Rx[q], ss.Tx[q])
						}
					}
				})
			}
		}
	}
}

func TestReservedBuffersAreSentInPlace(t *testing.T) {
	m, s := connected(t, Config{RingSize: 8, BufferSize: 128})
	for name, way := range map[string]struct {
		tx *TxQueue
		rx *RxQueue
	}{"slave to master": {s.Tx()[0], m.Rx()[0]}, "master to slave": {m.Tx()[0], s.Rx()[0]}} {
		t.Run(name, func(t *testing.T) {
			out, in := make([]Packet, 16), make([]Packet, 16)
			for round := range 20 {
				if n := way.tx.Reserve(out); n != 8 || len(out[7].Data) != 128 {
					t.Fatalf("reserved %d", n)
				}
				for i := range 3 {
					out[i].Data = out[i].Data[:100+i]
					out[i].Data[0] = byte(round)
				}
				out[0].Next = true
				way.tx.Commit(out[:3])
				if n := way.rx.Receive(in); n != 3 || !in[0].Next || in[1].Next || len(in[2].Data) != 102 || in[0].Data[0] != byte(round) {
					t.Fatalf("received %d: %v", n, in[:n])
				}
				way.rx.Release()
			}
			if c := way.tx.conn.iface.Statistics().Tx[0]; c.Packets != 40 || c.Bytes != 20*303 {
				t.Errorf("counted %+v", c)
			}
		})
	}
}

func TestPacketsThatDoNotFit(t *testing.T) {
	m, s := connected(t, Config{RingSize: 4, BufferSize: 64})
	for name, way := range map[string]struct {
		tx *TxQueue
		rx *RxQueue
	}{"slave to master": {s.Tx()[0], m.Rx()[0]}, "master to slave": {m.Tx()[0], s.Rx()[0]}} {
		t.Run(name, func(t *testing.T) {
			in := make([]Packet, 4)
			if n := way.tx.Send([]Packet{{Data: make([]byte, 300)}, {}, {Data: make([]byte, 65)}, {Data: make([]byte, 200)}}); n != 3 {
				t.Errorf("took %d, want the jumbo that never fits, the empty one and the one of two buffers", n)
			}
			if n := way.rx.Receive(in[:1]); n != 0 {
				t.Errorf("a packet of two parts came in a burst of one: %d", n)
			}
			if n := way.tx.Send([]Packet{{Data: make([]byte, 250)}}); n != 1 {
				t.Error("the packet dropped keeps its buffers")
			}
			if n := way.rx.Receive(in); n != 4 {
				t.Errorf("received %d", n)
			}
			way.rx.Release()
			if c := way.tx.conn.iface.Statistics().Tx[0]; c.Packets != 2 || c.Bytes != 315 || c.Drops != 2 {
				t.Errorf("sender counted %+v", c)
			}
			if c := way.rx.conn.iface.Statistics().Rx[0]; c.Packets != 1 || c.Bytes != 250 || c.Drops != 1 {
				t.Errorf("receiver counted %+v", c)
			}
		})
	}
}

func TestPacketPathDoesNotAllocate(t *testing.T) {
	m, s := connected(t, Config{RingSize: 256, BufferSize: 256})
	out, in := make([]Packet, 64), make([]Packet, 64)
	for i := range out {
		out[i].Data = make([]byte, 64+i*8)
	}
	for name, f := range map[string]func(){
		"send, receive, release": func() {
			s.Tx()[0].Send(out)
			for m.Rx()[0].Receive(in) > 0 {
				m.Rx()[0].Release()
			}
			m.Tx()[0].Send(out)
			for s.Rx()[0].Receive(in) > 0 {
				s.Rx()[0].Release()
			}
		},
		"reserve, commit": func() {
			n := s.Tx()[0].Reserve(in)
			s.Tx()[0].Commit(in[:n])
			m.Rx()[0].Receive(in)
			m.Rx()[0].Release()
		},
		"interrupts": func() {
			m.Rx()[0].Arm()
			s.Tx()[0].Send(out)
			m.Rx()[0].Disarm()
			for m.Rx()[0].Receive(in) > 0 {
				m.Rx()[0].Release()
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func openFDs(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func pointer(mem []byte, at int) unsafe.Pointer {
	return unsafe.Pointer(&mem[at])
}
