// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// streamSeconds is how long a row's TCP connection sends.
const streamSeconds = 10

// longestStall is the longest time in which no byte may move, in seconds. Several
// rows and other tests share two cores, and TCP doubles its patience with each
// loss, from 0.2 s: a second and more can pass on a healthy link.
const longestStall = 3

// discardPort is where a discard service takes what one sends (RFC 863).
const discardPort = 9

// requireStream sends from client to endpoint by TCP, which never stalls, and a
// little the other way.
func (r *row) requireStream(t *testing.T) {
	t.Helper()
	r.streaming <- struct{}{}
	defer func() { <-r.streaming }()
	forth := r.Ways()[0]
	if !forth.Memif && !r.Ways()[1].Memif {
		intervals := r.iperf(t, forth, "-t", fmt.Sprint(streamSeconds))
		require.GreaterOrEqual(t, intervals, streamSeconds-1, "the last interval may be missing")
		r.iperf(t, forth, "-R", "-t", "2")
		return
	}
	if r.Host != nil {
		serveDiscard(t, r.Host.Namespace, forth.To.String())
	}
	nscIperf(t, forth, streamSeconds)
	if r.Host == nil {
		nscIperf(t, forth, 1, "-R")
	}
}

// iperf measures between pods with Linux's stack, and returns how many intervals of
// a second were reported. A server takes one test only: the next one would meet
// what is left of it.
func (r *row) iperf(t *testing.T, w lab.Way, options ...string) int {
	t.Helper()
	in := r.Ways()[1].From
	server, err := lab.Background(in.Path, "iperf3", "-s", "-1", "-B", r.EndpointAddr().String())
	require.NoError(t, err)
	defer server.Kill()
	eventually(t, 20*time.Second, "iperf3 listens", func() bool { return listens(t, in, 5201) })
	out, err := lab.Run(within(t, 60*time.Second), w.From.Path, "iperf3", append([]string{"-J", "-c", w.To.String()}, options...)...)
	require.NoError(t, err)
	var report struct {
		Intervals []struct {
			Sum struct {
				Start, End float64
				Bytes      uint64
			}
		}
		End struct {
			Received struct {
				Bytes         uint64  `json:"bytes"`
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	moved := 0.0 // when bytes moved last
	for _, i := range report.Intervals {
		if i.Sum.Bytes > 0 {
			moved = i.Sum.End
		}
		require.Less(t, i.Sum.End-moved, float64(longestStall), "no byte from second %.0f to %.0f", moved, i.Sum.End)
	}
	require.Positive(t, report.End.Received.Bytes, out)
	t.Logf("TCP %v: %.2f Gbit/s", options, report.End.Received.BitsPerSecond/1e9)
	return len(report.Intervals)
}

// nscIperf measures where one pod's stack is not Linux's.
func nscIperf(t *testing.T, w lab.Way, seconds int, options ...string) {
	t.Helper()
	args := append([]string{"iperf", "-J", "-t", fmt.Sprint(seconds)}, options...)
	out, err := lab.Run(within(t, 60*time.Second), w.From.Path, filepath.Join(bin, "nsc"), append(args, w.To.String())...)
	require.NoError(t, err)
	var report struct {
		Seconds, BitsPerSecond, LongestGapSeconds float64
		Bytes                                     uint64
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report), out)
	require.Positive(t, report.Bytes)
	require.Greater(t, report.Seconds, float64(seconds)-0.5)
	require.Less(t, report.LongestGapSeconds, float64(longestStall), out)
	t.Logf("TCP %v: %.2f Gbit/s, no byte for %.3f s at most", options, report.BitsPerSecond/1e9, report.LongestGapSeconds)
}

// serveDiscard runs a discard service in a namespace, on an address of it.
func serveDiscard(t *testing.T, in *lab.Namespace, addr string) {
	t.Helper()
	var l net.Listener
	require.NoError(t, netns.Do(in.Path, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, fmt.Sprint(discardPort)))
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
		}
	}()
}
