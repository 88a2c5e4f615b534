// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func sized(sizes ...int) [][]byte {
	var b [][]byte
	for i, size := range sizes {
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, size))
	}
	return b
}

func TestRunsOfOneSizeGoAsOne(t *testing.T) {
	many := make([]int, 2*maxSegments)
	large := make([]int, 100)
	for i := range many {
		many[i] = 10
	}
	for i := range large {
		large[i] = 1452
	}
	for _, c := range []struct {
		name  string
		sizes []int
		want  int
	}{
		{"one", []int{100}, 1},
		{"equal ones", []int{100, 100, 100}, 3},
		{"the last may be shorter", []int{100, 100, 60, 60}, 3},
		{"a longer one begins another", []int{60, 100}, 1},
		{"an empty one begins another", []int{60, 0}, 1},
		{"no more than the kernel segments", many, maxSegments},
		{"no more than a datagram holds", large, 45},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, run(sized(c.sizes...))) })
	}
}

func TestSplitUndoesCoalescing(t *testing.T) {
	for name, c := range map[string]struct {
		n, size int
		want    []int
	}{
		"not coalesced":        {100, 0, []int{100}},
		"equal ones":           {300, 100, []int{100, 100, 100}},
		"the last is shorter":  {250, 100, []int{100, 100, 50}},
		"larger than it holds": {50, 100, []int{50}},
		"empty":                {0, 0, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			var sizes []int
			for _, d := range split(nil, make([]byte, c.n), c.size) {
				sizes = append(sizes, len(d))
			}
			require.Equal(t, c.want, sizes)
		})
	}
}

func TestSegmentSize(t *testing.T) {
	s := newWriter(nil)
	require.Zero(t, segmentSize(s.oob), "UDP_SEGMENT is for sending")
	require.Zero(t, segmentSize(nil))
	require.Zero(t, segmentSize(s.oob[:5]), "cut off")
	s.oob[12], s.oob[16], s.oob[17] = unix.UDP_GRO, 0xac, 0x05
	require.Equal(t, 1452, segmentSize(s.oob))
}

// Datagrams arrive as they were sent, with and without the kernel's help.
func TestSendKeepsDatagrams(t *testing.T) {
	for name, addr := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"} {
		for _, whole := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, segmented by the kernel: %t", name, whole), func(t *testing.T) {
				w, err := listen("", netip.AddrPortFrom(netip.MustParseAddr(addr), 0))
				require.NoError(t, err)
				defer w.close()
				w.whole.Store(whole)
				peer, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(addr)})
				require.NoError(t, err)
				defer peer.Close()
				sent := sized(100, 100, 60, 1400, 1400, 7)
				require.NoError(t, w.Send(w.local, peer.LocalAddr().(*net.UDPAddr).AddrPort(), sent))
				require.NoError(t, peer.SetReadDeadline(time.Now().Add(5*time.Second)))
				for _, d := range sent {
					b := make([]byte, 2000)
					n, err := peer.Read(b)
					require.NoError(t, err)
					require.Equal(t, d, b[:n])
				}
			})
		}
	}
}

// Datagrams longer than the MTU go in fragments, for which the kernel does not
// segment; the others still are segmented by it.
func TestSendFragments(t *testing.T) {
	for name, addr := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"} {
		t.Run(name, func(t *testing.T) {
			n := newNamespace(t)
			n.run(t, "ip", "link", "set", "lo", "mtu", "1280")
			w, err := listen(n.path, netip.AddrPortFrom(netip.MustParseAddr(addr), 0))
			require.NoError(t, err)
			defer w.close()
			peer, err := listen(n.path, netip.AddrPortFrom(netip.MustParseAddr(addr), 0))
			require.NoError(t, err)
			defer peer.close()
			whole := w.whole.Load()
			sent := sized(1312, 1312, 1312, 1000, 1000, 7)
			require.NoError(t, w.Send(w.local, peer.conn.LocalAddr().(*net.UDPAddr).AddrPort(), sent))
			require.Equal(t, whole, w.whole.Load())
			require.NoError(t, peer.conn.SetReadDeadline(time.Now().Add(5*time.Second)))
			var got []byte
			for want := bytes.Join(sent, nil); len(got) < len(want); {
				b := make([]byte, messageSize)
				n, err := peer.conn.Read(b) // which may be several, coalesced
				require.NoError(t, err)
				got = append(got, b[:n]...)
			}
			require.Equal(t, bytes.Join(sent, nil), got)
		})
	}
}

func TestSendSaysWhatFailed(t *testing.T) {
	w, err := listen("", netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(t, err)
	require.ErrorIs(t, w.Send(w.local, netip.MustParseAddrPort("127.0.0.1:9"), sized(70000)), unix.EMSGSIZE)
	require.NoError(t, w.close())
	require.ErrorIs(t, w.Send(w.local, netip.MustParseAddrPort("127.0.0.1:9"), sized(1)), net.ErrClosed)
}

func BenchmarkSend(b *testing.B) {
	w, err := listen("", netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(b, err)
	defer w.close()
	to := w.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	burst := sized(1400, 1400, 1400, 1400, 1400, 1400, 1400, 1400)
	b.ReportAllocs()
	for b.Loop() {
		_ = w.Send(w.local, to, burst)
	}
}
