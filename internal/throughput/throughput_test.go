// SPDX-License-Identifier: Apache-2.0

package throughput_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nsm-afxdp/forwarder/internal/inetd"
	"github.com/nsm-afxdp/forwarder/internal/throughput"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback has the services on any free ports of the kernel's loopback.
type loopback struct{ tcp, udp map[string]string }

func (l *loopback) ListenTCP(port uint16) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		l.tcp[strconv.Itoa(int(port))] = listener.Addr().String()
	}
	return listener, err
}

func (l *loopback) ListenUDP(port uint16) (net.PacketConn, error) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err == nil {
		l.udp[strconv.Itoa(int(port))] = socket.LocalAddr().String()
	}
	return socket, err
}

func (l *loopback) dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	at := l.tcp[port]
	if network == "udp" {
		at = l.udp[port]
	}
	return new(net.Dialer).DialContext(ctx, network, at)
}

var here = netip.MustParseAddr("127.0.0.1")

func services(t *testing.T) *loopback {
	t.Helper()
	l := &loopback{tcp: make(map[string]string), udp: make(map[string]string)}
	server, err := inetd.Serve(l)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return l
}

func TestBytesMoveEachWayByEachProtocol(t *testing.T) {
	l := services(t)
	for _, udp := range []bool{false, true} {
		for _, reverse := range []bool{false, true} {
			t.Run(fmt.Sprintf("udp=%v reverse=%v", udp, reverse), func(t *testing.T) {
				o := throughput.Options{Duration: 200 * time.Millisecond, UDP: udp, Reverse: reverse, Streams: 3}
				r, err := throughput.Measure(t.Context(), l.dial, here, o, func(throughput.Interval) {})
				require.NoError(t, err)
				require.GreaterOrEqual(t, r.Seconds, 0.2)
				require.Positive(t, r.Bytes)
				require.InEpsilon(t, float64(r.Bytes)*8/r.Seconds, r.BitsPerSecond, 0.01)
				require.Less(t, r.LongestGapSeconds, r.Seconds)
				require.Equal(t, 3, r.Streams)
				require.Equal(t, reverse, r.Reverse)
				require.Equal(t, map[bool]string{false: "tcp", true: "udp"}[udp], r.Protocol)
			})
		}
	}
}

func TestEachSecondIsTold(t *testing.T) {
	l := services(t)
	var intervals []throughput.Interval
	r, err := throughput.Measure(t.Context(), l.dial, here, throughput.Options{Duration: 1600 * time.Millisecond, Streams: 1},
		func(i throughput.Interval) { intervals = append(intervals, i) })
	require.NoError(t, err)
	require.NotEmpty(t, intervals)
	require.LessOrEqual(t, len(intervals), 2)
	var bytes uint64
	for _, i := range intervals {
		require.Less(t, i.From, i.To)
		bytes += i.Bytes
	}
	require.LessOrEqual(t, bytes, r.Bytes)
	require.GreaterOrEqual(t, intervals[0].To, 1.0)
}

func TestAStallIsTheLongestGap(t *testing.T) {
	// A host that stops reading for a while.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_ = conn.(*net.TCPConn).SetReadBuffer(1 << 16)
		buf := make([]byte, 1<<16)
		for first := true; ; first = false {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			if first {
				time.Sleep(500 * time.Millisecond) // the stall is what is tested
			}
		}
	}()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
	}
	r, err := throughput.Measure(t.Context(), dial, here, throughput.Options{Duration: time.Second, Streams: 1}, func(throughput.Interval) {})
	require.NoError(t, err)
	require.Greater(t, r.LongestGapSeconds, 0.3)
	<-served
}

func TestTheEndOfTheContextIsTheEnd(t *testing.T) {
	l := services(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := throughput.Measure(ctx, l.dial, here, throughput.Options{Duration: time.Hour, Streams: 2}, func(throughput.Interval) {})
	require.NoError(t, err)
	require.Less(t, r.Seconds, 20.0)
}

func TestAHostWithoutServicesIsAnError(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	_, err := throughput.Measure(t.Context(), refuse, here, throughput.Options{Duration: time.Second, Streams: 1}, nil)
	require.ErrorContains(t, err, "test services of 127.0.0.1")
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []throughput.Options{{}, {Duration: time.Second}, {Duration: -1, Streams: 1}, {Duration: time.Second, Streams: 65}, {Duration: 25 * time.Hour, Streams: 1}} {
		require.Error(t, o.Validate(), "%+v", o)
	}
	require.NoError(t, (&throughput.Options{Duration: time.Second, Streams: 64}).Validate())
}
