// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	wg "golang.zx2c4.com/wireguard/device"
)

const benchmarkPacket = 1400

// flow is a sender and a receiver of IP packets with a window of packets in
// flight, as TCP has, so that no queue between them grows without end.
type flow struct {
	mu             sync.Mutex
	moved          sync.Cond
	window         int
	sent, received int
	goal           int
	closed         bool
	template       []byte
}

func newFlow(window int) *flow {
	f := &flow{window: window, template: packet(benchmarkPacket, 0)}
	f.moved.L = &f.mu
	return f
}

// source is the end of the flow that packets are read from, sink the other.
type source struct{ *flow }
type sink struct{ *flow }

func (f source) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	f.mu.Lock()
	for !f.closed && (f.sent == f.goal || f.sent-f.received >= f.window) {
		f.moved.Wait()
	}
	n := min(len(bufs), f.goal-f.sent, f.window-(f.sent-f.received))
	f.sent += n
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return 0, os.ErrClosed
	}
	for i := range n {
		sizes[i] = copy(bufs[i][offset:], f.template)
	}
	return n, nil
}

func (source) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), nil }

func (f source) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.moved.Broadcast()
	return nil
}

func (f sink) Read([][]byte, []int, int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed {
		f.moved.Wait()
	}
	return 0, os.ErrClosed
}

func (f sink) Write(bufs [][]byte, _ int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.received += len(bufs)
	f.moved.Broadcast()
	return len(bufs), nil
}

func (f sink) Close() error { return source(f).Close() }

// run lets n packets cross and fails if some are lost.
func (f *flow) run(b testing.TB, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.goal += n
	f.moved.Broadcast()
	timer := time.AfterFunc(20*time.Second, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.closed = true
		f.moved.Broadcast()
	})
	defer timer.Stop()
	for f.received < f.goal && !f.closed {
		f.moved.Wait()
	}
	if f.received < f.goal {
		b.Fatalf("%d of %d packets arrived", f.received, f.goal)
	}
}

const benchmarkWindow = 1024

// BenchmarkThroughput is the time for one packet of 1400 bytes to get from one
// Inside to the other, sealing and opening in the same process: hubs joined in
// memory with several batch sizes, and wireguard-go as it is over UDP sockets on
// loopback, whose cost includes the kernel's.
func BenchmarkThroughput(b *testing.B) {
	for _, batch := range []int{1, 2, 4, 8, 16, 32, 128} {
		b.Run("hub/batch="+strconv.Itoa(batch), func(b *testing.B) {
			measure(b, hubFlow(b, batch, benchmarkWindow))
		})
	}
	b.Run("stock", func(b *testing.B) { measure(b, stockFlow(b, benchmarkWindow)) })
}

// BenchmarkLatency is the time from one Inside to the other if there is one
// packet at a time.
func BenchmarkLatency(b *testing.B) {
	b.Run("hub", func(b *testing.B) { measure(b, hubFlow(b, DefaultBatchSize, 1)) })
	b.Run("stock", func(b *testing.B) { measure(b, stockFlow(b, 1)) })
}

// hubFlow is a flow through a tunnel between two hubs.
func hubFlow(b *testing.B, batch, window int) *flow {
	p := newPair(b, HubConfig{BatchSize: batch})
	f := newFlow(window)
	ka, kb := randomKey(b), randomKey(b)
	ta, err := p.a.Open(b.Context(), Config{PrivateKey: ka, PeerKey: public(b, kb), Local: addrA, Remote: addrB}, source{f})
	if err != nil {
		b.Fatal(err)
	}
	if _, err = p.b.Open(b.Context(), Config{PrivateKey: kb, PeerKey: public(b, ka), Local: addrB, Remote: addrA}, sink{f}); err != nil {
		b.Fatal(err)
	}
	shake(b, end{Tunnel: ta})
	return f
}

// stockFlow is a flow through wireguard-go with its own sockets and batches.
func stockFlow(b *testing.B, window int) *flow {
	f := newFlow(window)
	ka, kb := randomKey(b), randomKey(b)
	port := stockDevice(b, sink{f}, kb, public(b, ka), 0)
	stockDevice(b, source{f}, ka, public(b, kb), port)
	return f
}

// bare is a device without our counters and windows.
type bare struct{ *device }

func (d bare) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return d.inside.Read(bufs, sizes, offset)
}

func (d bare) Write(bufs [][]byte, offset int) (int, error) { return d.inside.Write(bufs, offset) }

func measure(b *testing.B, f *flow) {
	f.run(b, 2048) // handshake, pools, rings
	b.SetBytes(benchmarkPacket)
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	f.run(b, b.N)
	b.StopTimer()
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// processorTime is what this process has used, in nanoseconds, of all cores.
func processorTime(b testing.TB) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// stockDevice is wireguard-go with its own UDP sockets. It knows the peer's
// endpoint if the peer has a port, and returns its own.
func stockDevice(b testing.TB, inside Inside, private, peer Key, peerPort uint16) uint16 {
	b.Helper()
	d := bare{newDevice(inside, DefaultMTU, conn.IdealBatchSize)}
	w := wg.NewDevice(d, conn.NewDefaultBind(), wg.NewLogger(wg.LogLevelError, "stock: "))
	b.Cleanup(w.Close)
	var uapi strings.Builder
	fmt.Fprintf(&uapi, "private_key=%s\npublic_key=%s\nallowed_ip=0.0.0.0/0\n", hex.EncodeToString(private[:]), hex.EncodeToString(peer[:]))
	if peerPort != 0 {
		fmt.Fprintf(&uapi, "endpoint=%s\n", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), peerPort))
	}
	if err := w.IpcSet(uapi.String()); err != nil {
		b.Fatal(err)
	}
	if err := w.Up(); err != nil {
		b.Fatal(err)
	}
	text, err := w.IpcGet()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "listen_port="); ok {
			port, err := strconv.ParseUint(v, 10, 16)
			if err != nil {
				b.Fatal(err)
			}
			return uint16(port)
		}
	}
	b.Fatal("wireguard-go tells no port")
	return 0
}

// BenchmarkInitiationCheck is the time to see that an initiation is not for one
// tunnel.
func BenchmarkInitiationCheck(b *testing.B) {
	check, err := newMAC1(randomKey(b))
	if err != nil {
		b.Fatal(err)
	}
	m := message(initiation, initiationSize)
	b.ReportAllocs()
	for b.Loop() {
		if check.matches(m) {
			b.Fatal("it matches")
		}
	}
}

// BenchmarkReceive is the time for one datagram of 1400 bytes, of a burst of 64,
// to be found a tunnel and to be copied into its inbox and out of it.
func BenchmarkReceive(b *testing.B) {
	h, tunnel, burst, packets := inboxOnly(b)
	sizes, eps := make([]int, len(burst)), make([]conn.Endpoint, len(burst))
	b.SetBytes(1400)
	b.ReportAllocs()
	for i := 0; i < b.N; i += len(burst) {
		h.Receive(addrA, addrB, burst)
		if _, err := tunnel.inbox.fetch(packets, sizes, eps); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTunnelMemory opens tunnels between two hubs, shakes hands on all of
// them, sends a packet each way, and says what one end costs.
func BenchmarkTunnelMemory(b *testing.B) {
	for _, batch := range []int{1, 4, 8, 16, 32} {
		b.Run("batch="+strconv.Itoa(batch), func(b *testing.B) {
			const tunnels = 200
			for range b.N {
				p := newPair(b, HubConfig{BatchSize: batch})
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				rss, goroutines := residentBytes(b), runtime.NumGoroutine()
				for range tunnels {
					x, y := p.open(b)
					shake(b, x)
					x.inside.out <- packet(1400, 1)
					y.inside.expect(b, 1)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(residentBytes(b)-rss)/(2*tunnels)/1024, "RSS-KiB/end")
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(2*tunnels)/1024, "heap-KiB/end")
				b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/(2*tunnels), "goroutines/end")
				p.a.Close()
				p.b.Close()
			}
		})
	}
}

func residentBytes(b testing.TB) int {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
