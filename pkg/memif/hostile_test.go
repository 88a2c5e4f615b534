// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScribblingPeer has random bytes written into rings, descriptors and
// buffers while packets flow. The connection may end; nothing else may happen.
func TestScribblingPeer(t *testing.T) {
	master, slave := ends(t, Config{RingSize: 64, BufferSize: 256}, Config{RingSize: 64, BufferSize: 256})
	for seed := range uint64(60) {
		m, s := join(t, master, slave)
		memory := s.regions[0].mem
		var sum atomic.Uint64
		var users sync.WaitGroup
		var stop atomic.Bool
		use := func(c *Conn) {
			users.Go(func() {
				in, out := make([]Packet, 32), make([]Packet, 16)
				data := make([]byte, 700)
				for i := range out {
					out[i] = Packet{Data: data[:40*(i+1)], Next: i%5 == 1}
				}
				for !stop.Load() && c.Err() == nil {
					c.Tx()[0].Send(out)
					c.Tx()[0].Commit(in[:min(2, c.Tx()[0].Reserve(in))])
					n := c.Rx()[0].Receive(in)
					for _, p := range in[:n] {
						for _, b := range p.Data { // every byte of a view can be read
							sum.Add(uint64(b))
							break
						}
						if len(p.Data) > 0 {
							sum.Add(uint64(p.Data[len(p.Data)-1]))
						}
					}
					c.Rx()[0].Release()
					c.Rx()[0].Arm()
					c.Rx()[0].Disarm()
				}
			})
		}
		use(m)
		use(s)
		r := rand.New(rand.NewPCG(seed, 0))
		rings := int(layout(2, 64, 256).buffers)
		for end := time.Now().Add(15 * time.Millisecond); time.Now().Before(end); {
			at := r.IntN(rings/8) * 8
			if seed%3 == 0 { // only descriptors: what is wrong there is found later
				at = 2*ringHeaderSize&^7 + r.IntN(64*2)*8
			}
			v := r.Uint64()
			if seed%2 == 0 {
				v &= 0x000003ff_00000001 // plausible lengths and flags
			}
			atomic.StoreUint64((*uint64)(pointer(memory, at)), v)
		}
		stop.Store(true)
		users.Wait()
		m.Close()
		s.Close()
	}
	if master.Statistics().Violations+slave.Statistics().Violations == 0 {
		t.Error("no violation was noticed")
	}
}

// TestViolationsInSharedMemory writes one wrong thing at a time.
func TestViolationsInSharedMemory(t *testing.T) {
	const size = 8
	for name, c := range map[string]struct {
		// spoil writes to a ring of the slave's memory; the victim then does
		// what it does all the time.
		toMaster, master bool
		spoil            func(r *ring)
		want             string
	}{
		"head too far":                  {true, true, func(r *ring) { r.moveHead(9) }, "index moved by 9"},
		"head back":                     {true, true, func(r *ring) { r.moveHead(0xffff) }, "index moved by 65535"},
		"region that does not exist":    {true, true, func(r *ring) { r.descs[0].use = makeUse(0, 1, 64); r.moveHead(1) }, "in region 1"},
		"offset beyond the region":      {true, true, func(r *ring) { r.descs[0].place = 0xffffffff; r.moveHead(1) }, "at 4294967295"},
		"length beyond the region":      {true, true, func(r *ring) { r.descs[0].use = makeUse(0, 0, 0xffffffff); r.moveHead(1) }, "4294967295 bytes"},
		"a chain as long as the ring":   {true, true, chainAll, "longer than the ring"},
		"slave's tail beyond its head":  {true, false, func(r *ring) { r.storeTail(3) }, "beyond its head"},
		"tail too far":                  {false, false, func(r *ring) { r.storeTail(9) }, "index moved by 9"},
		"more than the buffer":          {false, false, func(r *ring) { r.descs[0].use = makeUse(0, 0, 65); r.storeTail(1) }, "65 bytes in a buffer of 64"},
		"more buffers than descriptors": {false, true, func(r *ring) { r.moveHead(1) }, "9 buffers posted"},
		"buffer beyond the region":      {false, true, func(r *ring) { r.descs[0].place = 0xfffffff0 }, "at 4294967280"},
	} {
		t.Run(name, func(t *testing.T) {
			m, s := connected(t, Config{RingSize: size, BufferSize: 64})
			r := s.Rx()[0].ring
			if c.toMaster {
				r = s.Tx()[0].ring
			}
			c.spoil(&r)
			victim, other := s, m
			if c.master {
				victim, other = m, s
			}
			in := make([]Packet, 8)
			if n := victim.Rx()[0].Receive(in); n != 0 {
				t.Errorf("received %d", n)
			}
			out := make([]Packet, 9)
			for i := range out {
				out[i].Data = make([]byte, 60)
			}
			victim.Tx()[0].Send(out)
			var v *ViolationError
			if err := victim.Err(); !errors.As(err, &v) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			<-other.Done()
			var told *DisconnectError
			if !errors.As(other.Err(), &told) || told.Reason != v.What {
				t.Errorf("the peer was told %v", other.Err())
			}
			if got := victim.iface.Statistics().Violations; got != 1 {
				t.Errorf("%d violations counted", got)
			}
		})
	}
}

func chainAll(r *ring) {
	for i := range r.descs {
		r.descs[i].use = makeUse(descNext, 0, 1)
	}
	r.moveHead(r.size())
}

// TestEventfdThatBlocks: a peer can make the signal block, but not for long.
func TestEventfdThatBlocks(t *testing.T) {
	m, s := connected(t, Config{})
	fd := m.Rx()[0].FD()
	m.Rx()[0].Arm()
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s.Tx()[0].Send([]Packet{{Data: make([]byte, 64)}})
	if took := time.Since(start); took < patience/2 || took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	<-s.Done()
	if !errors.Is(s.Err(), errStuck) {
		t.Errorf("ended with %v", s.Err())
	}
	if n := s.iface.Statistics().Violations; n != 1 {
		t.Errorf("%d violations counted", n)
	}
}

// rawSlave dials a listener and reads HELLO.
func rawSlave(t *testing.T, a Address) *net.UnixConn {
	t.Helper()
	sock, err := net.DialUnix("unixpacket", nil, a.unix())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	_ = sock.SetDeadline(time.Now().Add(10 * time.Second))
	if m, _, err := receive(sock); err != nil || m.kind() != msgHello || m.hello().minVersion != version {
		t.Fatalf("no HELLO: %v", err)
	}
	return sock
}

// memory is a memfd of some size.
func memory(t *testing.T, size int64, flags int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", flags)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestControlMessages sends a master sequences of messages, each ending
// in one that it must turn down, or in a connection.
func TestControlMessages(t *testing.T) {
	type step struct {
		m    *message
		fds  []int
		size int // of the message, if it is not right
	}
	event, err := makeEventfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	good := memory(t, 1<<16, unix.MFD_ALLOW_SEALING)
	p := layout(2, 16, 64)
	mem, err := mapShared(good, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.unmap()
	*cookieOf(mem.mem) = ringCookie
	*cookieOf(mem.mem[p.ringStride:]) = ringCookie
	fixed := memory(t, 1<<16, 0)
	pipe := make([]int, 2)
	if err := unix.Pipe(pipe); err != nil {
		t.Fatal(err)
	}
	defer closeAll(pipe)
	ini := initiation{version: version, id: 3, mode: IP, secret: Config{Secret: "s"}.secret(), name: "test"}
	with := func(f func(*initiation)) step { i := ini; f(&i); return step{m: i.message()} }
	begin := step{m: ini.message()}
	region := func(index uint16, size uint64, fds ...int) step {
		return step{m: addRegion{index: index, size: size}.message(), fds: fds}
	}
	ring := addRing{flags: ringToMaster, log2Size: 4}
	ringWith := func(f func(*addRing), fds ...int) step { r := ring; f(&r); return step{m: r.message(), fds: fds} }
	same := func(*addRing) {}
	back := func(r *addRing) { r.flags, r.offset = 0, uint32(p.ringStride) }
	connect := step{m: connectMessage(msgConnect, "x")}
	memoryStep := region(0, 1<<16, good)

	for name, c := range map[string]struct {
		steps []step
		want  string // reason told; empty: connected
	}{
		"a good handshake":           {[]step{begin, memoryStep, ringWith(same, event), ringWith(back, event), connect}, ""},
		"short message":              {[]step{{m: begin.m, size: 100}}, "message of 100 bytes"},
		"long message":               {[]step{{m: begin.m, size: 200}}, "message of 129 bytes"},
		"unknown type":               {[]step{{m: newMessage(99)}}, "unexpected message type 99"},
		"no INIT":                    {[]step{memoryStep}, "unexpected ADD_REGION"},
		"two INITs":                  {[]step{begin, begin}, "unexpected INIT"},
		"wrong version":              {[]step{with(func(i *initiation) { i.version = 0x100 })}, "version 0x100"},
		"unknown id":                 {[]step{with(func(i *initiation) { i.id = 4 })}, "id 4 not found"},
		"wrong mode":                 {[]step{with(func(i *initiation) { i.mode = Ethernet })}, "mode is ip here and ethernet there"},
		"wrong secret":               {[]step{with(func(i *initiation) { i.secret[0]++ })}, "incorrect secret"},
		"INIT with a descriptor":     {[]step{{m: begin.m, fds: []int{event}}}, "INIT with 1 file descriptors"},
		"region without memory":      {[]step{begin, region(0, 4096)}, "ADD_REGION with 0 file descriptors"},
		"region with two":            {[]step{begin, region(0, 4096, good, good)}, "ADD_REGION with 2 file descriptors"},
		"region with a hundred":      {[]step{begin, region(0, 4096, hundred(good)...)}, "too many file descriptors"},
		"region out of order":        {[]step{begin, region(1, 4096, good)}, "region 1 where 0 is next"},
		"region larger than its fd":  {[]step{begin, region(0, 1<<17, good)}, "region of 131072 bytes in a file of 65536"},
		"region of nothing":          {[]step{begin, region(0, 0, good)}, "region of 0 bytes"},
		"region of everything":       {[]step{begin, region(0, 1<<63, good)}, "more than"},
		"region that can shrink":     {[]step{begin, region(0, 4096, fixed)}, "not sealed against shrinking"},
		"region that is a pipe":      {[]step{begin, region(0, 4096, pipe[0])}, "not sealed against shrinking"},
		"ring without region":        {[]step{begin, ringWith(same, event)}, "ring in region 0 of 0"},
		"ring with a pipe":           {[]step{begin, memoryStep, ringWith(same, pipe[1])}, "no eventfd but pipe"},
		"ring out of order":          {[]step{begin, memoryStep, ringWith(func(r *addRing) { r.index = 1 }, event)}, "ring 1 where 0 is next"},
		"one ring too many":          {[]step{begin, memoryStep, ringWith(same, event), ringWith(func(r *addRing) { r.index = 1 }, event)}, "at most 1"},
		"ring too large":             {[]step{begin, memoryStep, ringWith(func(r *addRing) { r.log2Size = 15 }, event)}, "2^15 descriptors"},
		"ring beyond its region":     {[]step{begin, memoryStep, ringWith(func(r *addRing) { r.offset = 1<<16 - 128 }, event)}, "beyond the end"},
		"ring at the end of 32 bits": {[]step{begin, memoryStep, ringWith(func(r *addRing) { r.offset = 0xfffffff8 }, event)}, "beyond the end"},
		"ring that is not aligned":   {[]step{begin, memoryStep, ringWith(func(r *addRing) { r.offset = 4 }, event)}, "not aligned"},
		"ring without cookie":        {[]step{begin, memoryStep, ringWith(same, event), ringWith(func(r *addRing) { r.flags, r.offset = 0, 8 }, event), connect}, "without cookie"},
		"rings one way only":         {[]step{begin, memoryStep, ringWith(same, event), connect}, "1 rings to the master and 0"},
		"ACK from a slave":           {[]step{begin, {m: newMessage(msgAck)}}, "unexpected ACK"},
	} {
		t.Run(name, func(t *testing.T) {
			l, a := listen(t)
			master, err := l.Interface(Config{ID: 3, Mode: IP, Secret: "s"})
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan *Conn, 1)
			go func() {
				c, _ := master.Connect(t.Context())
				got <- c
			}()
			before := openFDs(t)
			sock := rawSlave(t, a)
			var m *message
			for i, s := range c.steps {
				size := messageSize
				if s.size > 0 {
					size = s.size
				}
				b := append(s.m[:], make([]byte, 100)...)[:size]
				if _, _, err := sock.WriteMsgUnix(b, unix.UnixRights(s.fds...), nil); err != nil {
					t.Fatal(err)
				}
				if m, _, err = receive(sock); err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
				if i < len(c.steps)-1 && m.kind() != msgAck {
					t.Fatalf("answer %d: %v %q", i, m.kind(), m.reason())
				}
			}
			if c.want == "" {
				if m.kind() != msgConnected {
					t.Fatalf("%v %q", m.kind(), m.reason())
				}
				(<-got).Close()
			} else if m.kind() != msgDisconnect || !strings.Contains(m.reason(), c.want) {
				t.Errorf("%v %q, want %q", m.kind(), m.reason(), c.want)
			}
			sock.Close()
			l.Close()
			eventually(t, "no file descriptor is left", func() bool { return openFDs(t) < before })
		})
	}
}

func hundred(fd int) []int {
	fds := make([]int, 100)
	for i := range fds {
		fds[i] = fd
	}
	return fds
}

// TestMemoryTakenAway has a slave truncate memory that was accepted unsealed.
func TestMemoryTakenAway(t *testing.T) {
	l, a := listen(t)
	master, err := l.Interface(Config{AllowUnsealed: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]func(c *Conn){
		"in Receive": func(c *Conn) { c.Rx()[0].Receive(make([]Packet, 1)) },
		"in Release": func(c *Conn) { c.Rx()[0].next++; c.Rx()[0].Release() },
		"in Send":    func(c *Conn) { c.Tx()[0].Send([]Packet{{Data: []byte{1}}}) },
		"in Arm":     func(c *Conn) { c.Rx()[0].Arm() },
		"in a view": func(c *Conn) {
			if c.Guard(func() { c.regions[0].mem[0]++ }) {
				t.Error("the fault went unnoticed")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fd := memory(t, 1<<16, 0)
			p := layout(2, 16, 64)
			mem, err := mapShared(fd, 1<<16)
			if err != nil {
				t.Fatal(err)
			}
			defer mem.unmap()
			*cookieOf(mem.mem) = ringCookie
			*cookieOf(mem.mem[p.ringStride:]) = ringCookie
			event, err := makeEventfd()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(event)
			sock := rawSlave(t, a)
			go func() {
				_ = send(sock, initiation{version: version}.message(), -1)
				_ = send(sock, addRegion{size: 1 << 16}.message(), fd)
				_ = send(sock, addRing{flags: ringToMaster, log2Size: 4}.message(), event)
				_ = send(sock, addRing{offset: uint32(p.ringStride), log2Size: 4}.message(), event)
				_ = send(sock, connectMessage(msgConnect, "x"), -1)
			}()
			c, err := master.Connect(within(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := unix.Ftruncate(fd, 0); err != nil {
				t.Fatal(err)
			}
			use(c)
			if err := c.Err(); err == nil || !strings.Contains(err.Error(), "taken away") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// FuzzSession feeds a master sequences of messages, each with a descriptor of a
// kind that the input chooses.
func FuzzSession(f *testing.F) {
	p := layout(2, 16, 64)
	seed := []byte{}
	for _, m := range []*message{
		initiation{version: version}.message(), addRegion{size: 1 << 16}.message(),
		addRing{flags: ringToMaster, log2Size: 4}.message(), addRing{offset: uint32(p.ringStride), log2Size: 4}.message(),
		connectMessage(msgConnect, "x"),
	} {
		kind := map[messageType]byte{msgAddRegion: 1, msgAddRing: 2}[m.kind()]
		seed = append(append(seed, kind), m[:40]...)
	}
	f.Add(seed)
	f.Add(seed[:41*3])
	f.Add(seed[41:])
	f.Fuzz(func(t *testing.T, input []byte) {
		cfg, err := Config{RingSize: 16}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		iface := newInterface(cfg)
		s := session{claim: func(initiation) (*Interface, error) { return iface, nil }}
		before := openFDs(t)
		for ; len(input) >= 41; input = input[41:] {
			var m message
			copy(m[:], input[1:41])
			var fds []int
			switch input[0] % 4 {
			case 1:
				fd, r, err := makeRegion(1 << 16)
				if err != nil {
					t.Fatal(err)
				}
				*cookieOf(r.mem) = ringCookie
				*cookieOf(r.mem[p.ringStride:]) = ringCookie
				r.unmap()
				fds = []int{fd}
			case 2:
				fd, err := makeEventfd()
				if err != nil {
					t.Fatal(err)
				}
				fds = []int{fd}
			case 3:
				fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				fds = []int{fd}
			}
			answer, err := s.handle(&m, fds)
			if err != nil {
				break
			}
			if answer.kind() == msgConnected {
				in := make([]Packet, 4)
				s.conn.Rx()[0].Receive(in)
				s.conn.Tx()[0].Send([]Packet{{Data: []byte{1}}})
				break
			}
		}
		s.abandon()
		if after := openFDs(t); after != before {
			t.Errorf("%d file descriptors before, %d after", before, after)
		}
	})
}
