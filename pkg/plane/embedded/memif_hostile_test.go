// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// witness is a pair of memifs, joined by workers, that counts each packet.
type witness struct {
	programs [2]*program
	stop     atomic.Bool
	rounds   atomic.Int64
	running  sync.WaitGroup
	err      error
}

func newWitness(t testing.TB, n *node) *witness {
	t.Helper()
	pod := newNamespace(t)
	ports := [2]plane.Memif{pod.memif(t, "witness-1", true), pod.memif(t, "witness-2", true)}
	if _, err := n.Join(t.Context(), &plane.Connection{ID: "witness", Payload: plane.Ethernet, Client: ports[0], Endpoint: ports[1]}); err != nil {
		t.Fatal(err)
	}
	w := &witness{}
	for i := range w.programs {
		w.programs[i] = startProgram(t, ports[i], memif.Config{}).connect(t)
	}
	n.withPeers(t, "witness")
	w.running.Go(func() {
		for !w.stop.Load() && w.err == nil {
			w.err = w.round()
			w.rounds.Add(1)
		}
	})
	t.Cleanup(func() { w.stop.Store(true); w.running.Wait() })
	return w
}

// round sends a burst and waits for all of it.
func (w *witness) round() error {
	const burst = 32
	var out [burst]memif.Packet
	var in [64]memif.Packet
	for i := range out {
		out[i].Data = inner(100, uint16(i))
	}
	if n := w.programs[0].conn.Tx()[0].Send(out[:]); n != burst {
		return fmt.Errorf("sent %d: %w", n, w.programs[0].conn.Err())
	}
	rx := w.programs[1].conn.Rx()[0]
	deadline := time.Now().Add(10 * time.Second)
	for got := 0; got < burst; {
		n := rx.Receive(in[:])
		for i := range in[:n] {
			if string(in[i].Data) != string(out[got].Data) {
				return fmt.Errorf("packet %d is another", got)
			}
			got++
		}
		rx.Release()
		if n == 0 {
			if time.Now().After(deadline) {
				return fmt.Errorf("%d of %d packets: %w", got, burst, w.programs[1].conn.Err())
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
	return nil
}

// unharmed ends the witness.
func (w *witness) unharmed(t testing.TB) {
	t.Helper()
	w.stop.Store(true)
	w.running.Wait()
	if w.err != nil {
		t.Error(w.err)
	}
	if w.rounds.Load() == 0 {
		t.Error("the witness has seen nothing")
	}
}

// regions maps all memory that memifs of this process have, as a peer could.
func regions(t testing.TB) map[string][]byte {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, m := range regexp.MustCompile(`(?m)^([0-9a-f]+-[0-9a-f]+) rw-s .* (\d+) +/memfd:memif region 0`).FindAllStringSubmatch(string(maps), -1) {
		if all[m[2]] != nil {
			continue
		}
		f, err := os.OpenFile("/proc/self/map_files/"+m[1], os.O_RDWR, 0)
		if err != nil {
			continue // its connection has just ended
		}
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		mem, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Munmap(mem) })
		all[m[2]] = mem
	}
	return all
}

// A peer writes random bytes into rings, descriptors and buffers while packets
// flow. It loses its connection, and may come again; nobody else notices.
func TestMemifScribblingPeer(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	n.penalty = time.Millisecond
	w := newWitness(t, n)
	known := regions(t)
	pod, other := newNamespace(t), newNamespace(t)
	for _, c := range []struct {
		name    string
		payload plane.Payload
		end     plane.Port
		rounds  int
	}{
		{"VXLAN", plane.Ethernet, tunnel(0, 7, addrs4), 8},
		{"kernel", plane.Ethernet, other.port(t, "nse-1"), 8},
		{"memif", plane.Ethernet, other.memif(t, "other", true), 8},
		{"WireGuard", plane.IP, guard(0, addrs4, false), 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := pod.memif(t, "c1", true)
			if _, err := n.Join(t.Context(), &plane.Connection{ID: "c1", Payload: c.payload, Client: port, Endpoint: c.end}); err != nil {
				t.Fatal(err)
			}
			cfg := memif.Config{RingSize: 64, BufferSize: 256}
			if c.payload == plane.IP {
				cfg.Mode = memif.IP
			}
			p := startProgram(t, port, cfg)
			for seed := range uint64(c.rounds) {
				p.connect(t)
				var memory []byte
				for inode, mem := range regions(t) {
					if known[inode] == nil {
						memory, known[inode] = mem, mem
					}
				}
				if memory == nil {
					t.Fatal("no memory")
				}
				p.scribble(memory, seed)
				p.leave()
			}
			if err := n.Leave(t.Context(), "c1"); err != nil {
				t.Fatal(err)
			}
		})
	}
	w.unharmed(t)
}

// scribble sends packets and writes into the memory for a while.
func (p *program) scribble(memory []byte, seed uint64) {
	var stop atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		var out, in [16]memif.Packet
		for i := range out {
			out[i] = memif.Packet{Data: inner(60+i*100, uint16(i)), Next: i%5 == 1}
		}
		for !stop.Load() && p.conn.Err() == nil {
			p.conn.Tx()[0].Send(out[:])
			p.conn.Rx()[0].Receive(in[:])
			p.conn.Rx()[0].Release()
			p.conn.Rx()[0].Arm()
		}
	})
	r := rand.New(rand.NewPCG(seed, 0))
	const rings = 2 * (128 + 64*16)
	for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
		at := r.IntN(len(memory)/8) * 8
		if seed%2 == 0 {
			at = r.IntN(rings/8) * 8
		}
		v := r.Uint64()
		if seed%4 < 2 {
			v &= 0x000003ff_00000001 // plausible lengths and flags
		}
		atomic.StoreUint64((*uint64)(unsafe.Pointer(&memory[at])), v)
	}
	stop.Store(true)
	running.Wait()
}

// unsealed is a slave whose memory can shrink, played by the test: one ring each
// way, and a buffer for each descriptor on a page of its own.
type unsealed struct {
	sock   *net.UnixConn
	memory []byte
	fd     int
	bell   int
}

const (
	unsealedRing   = 16
	unsealedToUs   = 2048 // the ring from the master
	unsealedBuffer = 4096 // the first buffer
	unsealedSize   = unsealedBuffer * (1 + 2*unsealedRing)
)

func newUnsealed(t testing.TB, port plane.Memif, mode memif.Mode) *unsealed {
	t.Helper()
	s := &unsealed{}
	var err error
	if err = netns.Do(port.NetNS, func() (err error) {
		s.sock, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: port.Socket, Net: "unixpacket"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.sock.Close() })
	if s.fd, err = unix.MemfdCreate("unsealed", unix.MFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	if err := unix.Ftruncate(s.fd, unsealedSize); err != nil {
		t.Fatal(err)
	}
	if s.memory, err = unix.Mmap(s.fd, 0, unsealedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(s.memory) })
	if s.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.bell) })
	for _, at := range []int{0, unsealedToUs} {
		binary.LittleEndian.PutUint32(s.memory[at:], 0x3E31F20)
	}
	s.expect(t, 2)                                                                         // HELLO
	s.say(t, 1, -1, 3, []byte{0, 2, 0, 0, 0, 0, byte(mode)})                               // INIT: version, id, mode
	s.say(t, 1, s.fd, 4, binary.LittleEndian.AppendUint64([]byte{0, 0}, unsealedSize))     // ADD_REGION: index, size
	s.say(t, 1, s.bell, 5, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4})                        // ADD_RING: flags, index, region, offset, log2
	s.say(t, 1, s.bell, 5, []byte{0, 0, 0, 0, 0, 0, 0, unsealedToUs >> 8 & 0xff, 0, 0, 4}) // and the one from the master
	s.say(t, 7, -1, 6, nil)                                                                // CONNECT, CONNECTED
	return s
}

// say sends a message and expects an answer of a type.
func (s *unsealed) say(t testing.TB, answer uint16, fd int, kind uint16, body []byte) {
	t.Helper()
	var m [128]byte
	binary.LittleEndian.PutUint16(m[:], kind)
	copy(m[2:], body)
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	if _, _, err := s.sock.WriteMsgUnix(m[:], rights, nil); err != nil {
		t.Fatal(err)
	}
	s.expect(t, answer)
}

func (s *unsealed) expect(t testing.TB, kind uint16) {
	t.Helper()
	_ = s.sock.SetDeadline(time.Now().Add(10 * time.Second))
	m := make([]byte, 128)
	if _, err := s.sock.Read(m); err != nil {
		t.Fatalf("message %d: %v", kind, err)
	}
	if got := binary.LittleEndian.Uint16(m); got != kind {
		t.Fatalf("message %d instead of %d: %s", got, kind, strings.TrimRight(string(m[6:]), "\x00"))
	}
}

// post writes a packet into each buffer, and gives the first n to the master.
func (s *unsealed) post(packet []byte, n uint16) {
	for i := range unsealedRing {
		at := unsealedBuffer * (1 + i)
		if at+len(packet) <= len(s.memory) {
			copy(s.memory[at:], packet)
		}
		d := s.memory[128+16*i:]
		binary.LittleEndian.PutUint32(d[4:], uint32(len(packet)))
		binary.LittleEndian.PutUint32(d[8:], uint32(at))
	}
	s.move(n)
}

func (s *unsealed) move(n uint16) {
	atomic.AddUint32((*uint32)(unsafe.Pointer(&s.memory[4])), uint32(n)<<16)
	_, _ = unix.Write(s.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Memory that VPP and DPDK share with huge pages can be taken away. Whoever does
// that loses the connection.
func TestMemifMemoryTakenAway(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	n.penalty = time.Millisecond
	w := newWitness(t, n)
	pod, other := newNamespace(t), newNamespace(t)
	for _, c := range []struct {
		name    string
		payload plane.Payload
		end     plane.Port
	}{
		{"VXLAN", plane.Ethernet, tunnel(0, 7, addrs4)},
		{"kernel", plane.Ethernet, other.port(t, "nse-1")},
		{"memif", plane.Ethernet, other.memif(t, "other", true)},
		{"WireGuard", plane.IP, guard(0, addrs4, false)},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := pod.memif(t, c.name, true)
			if _, err := n.Join(t.Context(), &plane.Connection{ID: c.name, Payload: c.payload, Client: port, Endpoint: c.end}); err != nil {
				t.Fatal(err)
			}
			mode, packet := memif.Ethernet, inner(200, 1)
			if c.payload == plane.IP {
				mode, packet = memif.IP, packet[14:]
			}
			if peer, ok := c.end.(plane.Memif); ok {
				startProgram(t, peer, memif.Config{}).connect(t)
			}
			received := func() uint64 {
				for _, l := range n.Links() {
					if l.ID == c.name {
						return l.Client.Counters.RxPackets
					}
				}
				return 0
			}
			for round := range uint64(2) {
				s := newUnsealed(t, port, mode)
				s.post(packet, 3)
				n.eventually(t, "packets", func() bool { return received() == 6*round+3 })
				if err := unix.Ftruncate(s.fd, unsealedBuffer*4); err != nil { // all buffers but three are gone
					t.Fatal(err)
				}
				s.move(3)
				s.expect(t, 8) // DISCONNECT
				if got := received(); got != 6*round+6 {
					t.Errorf("%d packets", got)
				}
			}
		})
	}
	w.unharmed(t)
}

// A peer that signals without end loses the connection, too. Its eventfd gives one
// signal after the other, however many are taken.
func TestMemifSignalsWithoutPackets(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	n.penalty = time.Millisecond
	w := newWitness(t, n)
	port := newNamespace(t).memif(t, "c1", true)
	if _, err := n.Join(t.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: port, Endpoint: tunnel(0, 7, addrs4)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := newUnsealed(t, port, memif.Ethernet)
		_, _ = unix.Write(s.bell, []byte{0, 0, 0, 0, 0, 1, 0, 0})
		s.expect(t, 8) // DISCONNECT
	}
	w.unharmed(t)
}
