// SPDX-License-Identifier: Apache-2.0

// Package throughput measures how much gets through to a host in a while, with the
// host's DISCARD service (RFC 863), or from it with its CHARGEN service (RFC 864).
package throughput

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/inetd"
)

// Dial connects to an address and port by "tcp" or "udp".
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Options of a measurement.
type Options struct {
	// Duration of it, without connecting.
	Duration time.Duration `json:"duration"`
	// UDP counts the bytes that were sent, as DISCARD does not say what it got. With
	// Reverse they are the bytes that came: each datagram of the host's answers one
	// of ours.
	UDP bool `json:"udp"`
	// Reverse measures from the host to here.
	Reverse bool `json:"reverse"`
	// Streams at the same time.
	Streams int `json:"streams"`
}

// Limits of Options.
const (
	MaxDuration = 24 * time.Hour
	MaxStreams  = 64
)

// Validate checks the options.
func (o *Options) Validate() error {
	switch {
	case o.Duration <= 0 || o.Duration > MaxDuration:
		return errors.New("duration: want more than 0 and 24h at most")
	case o.Streams < 1 || o.Streams > MaxStreams:
		return fmt.Errorf("streams: want 1 to %d", MaxStreams)
	}
	return nil
}

// Result of a measurement. Bytes are the payload's.
type Result struct {
	Seconds           float64 `json:"seconds"`
	Bytes             uint64  `json:"bytes"`
	BitsPerSecond     float64 `json:"bitsPerSecond"`
	LongestGapSeconds float64 `json:"longestGapSeconds"`
	Streams           int     `json:"streams"`
	Protocol          string  `json:"protocol"`
	Reverse           bool    `json:"reverse"`
}

// Interval is what moved in a part of a measurement, in seconds from its beginning.
type Interval struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Bytes uint64  `json:"bytes"`
}

const (
	// connectTimeout is for all streams together.
	connectTimeout = 10 * time.Second
	// ioSize is how much TCP takes or gives at once: so little that a slow stream is
	// not taken for one that stands.
	ioSize = 32 << 10
	// datagram is the size of a UDP datagram's payload: the smallest MTU of IPv6
	// takes it.
	datagram = 1200
	// drainTimeout is how long what has been written may take to arrive.
	drainTimeout = 10 * time.Second
)

// Measure moves bytes for the duration, or until ctx ends, and tells each second how many
// it were. By TCP all that was written has arrived when it returns, and the time until then counts. An error says that there was no connection, or that a stream broke.
func Measure(ctx context.Context, dial Dial, to netip.Addr, o Options, each func(Interval)) (Result, error) {
	conns, err := connect(ctx, dial, to, o)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	if err != nil {
		return Result{}, err
	}
	m := newMeter()
	stopped := make(chan struct{})
	errs := make([]error, len(conns))
	var moving, stopping sync.WaitGroup
	for i, conn := range conns {
		moving.Go(func() { errs[i] = m.move(conn, o, stopped) })
	}
	// A stream that stands still has to be woken at the end.
	stopping.Go(func() {
		m.tick(ctx, o.Duration, each)
		m.widen(int64(time.Since(m.started)) - m.last.Load())
		for _, conn := range conns {
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
		close(stopped)
	})
	stopping.Wait()
	moving.Wait()
	return m.result(o), errors.Join(errs...)
}

func connect(ctx context.Context, dial Dial, to netip.Addr, o Options) (conns []net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	port := uint16(inetd.DiscardPort)
	if o.Reverse {
		port = inetd.ChargenPort
	}
	for range o.Streams {
		conn, err := dial(ctx, o.protocol(), netip.AddrPortFrom(to, port).String())
		if err != nil {
			return conns, fmt.Errorf("connect to the test services of %s: %w", to, err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func (o *Options) protocol() string {
	if o.UDP {
		return "udp"
	}
	return "tcp"
}

// meter counts what moves in all streams.
type meter struct {
	started time.Time
	bytes   atomic.Uint64
	// last is when bytes moved last, and gap the longest time between two such moments,
	// both in nanoseconds; last counts from started.
	last, gap atomic.Int64
}

func newMeter() *meter { return &meter{started: time.Now()} }

// moved counts n bytes at this moment.
func (m *meter) moved(n int) {
	m.bytes.Add(uint64(n))
	at := int64(time.Since(m.started))
	m.widen(at - m.last.Swap(at))
}

// widen notes a gap if it is the longest.
func (m *meter) widen(gap int64) {
	for {
		longest := m.gap.Load()
		if gap <= longest || m.gap.CompareAndSwap(longest, gap) {
			return
		}
	}
}

// tick waits for the end and reports each second.
func (m *meter) tick(ctx context.Context, duration time.Duration, each func(Interval)) {
	end := time.NewTimer(duration)
	defer end.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	var from float64
	var before uint64
	report := func() {
		to, bytes := time.Since(m.started).Seconds(), m.bytes.Load()
		each(Interval{From: from, To: to, Bytes: bytes - before})
		from, before = to, bytes
	}
	for {
		select {
		case <-second.C:
			report()
		case <-end.C:
			if time.Since(m.started).Seconds()-from >= 0.5 {
				report()
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

func (m *meter) result(o Options) Result {
	elapsed := time.Since(m.started)
	r := Result{
		Seconds: round(elapsed.Seconds()), Bytes: m.bytes.Load(), LongestGapSeconds: round(time.Duration(m.gap.Load()).Seconds()),
		Streams: o.Streams, Protocol: o.protocol(), Reverse: o.Reverse,
	}
	r.BitsPerSecond = math.Round(float64(r.Bytes) * 8 / elapsed.Seconds())
	return r
}

func round(seconds float64) float64 { return math.Round(seconds*1e6) / 1e6 }
