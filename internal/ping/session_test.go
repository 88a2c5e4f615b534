// SPDX-License-Identifier: Apache-2.0

package ping_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/ping"
)

// wire is a Conn whose far end is a function.
type wire struct {
	reply   func(sequence uint16, data []byte) ([]ping.Answer, error)
	answers chan ping.Answer
	once    sync.Once
	closed  chan struct{}
}

func newWire(reply func(uint16, []byte) ([]ping.Answer, error)) *wire {
	return &wire{reply: reply, answers: make(chan ping.Answer, 1<<16), closed: make(chan struct{})}
}

func (w *wire) Send(sequence uint16, data []byte) error {
	answers, err := w.reply(sequence, data)
	for _, a := range answers {
		w.answers <- a
	}
	return err
}

func (w *wire) Receive() (ping.Answer, error) {
	select {
	case a := <-w.answers:
		return a, nil
	case <-w.closed:
		return ping.Answer{}, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

var far = netip.MustParseAddr("192.0.2.1")

func good(sequence uint16, data []byte) ping.Answer {
	return ping.Answer{Sequence: sequence, Size: len(data) + 8, From: far, TTL: 63}
}

func session(t *testing.T, w *wire, o ping.Options) (ping.Summary, []ping.Event) {
	t.Helper()
	var events []ping.Event
	s := ping.Session(t.Context(), w, o, func(e ping.Event) { events = append(events, e) })
	select {
	case <-w.closed:
	default:
		t.Error("the session leaves its conn open")
	}
	return s, events
}

func TestEveryRequestIsCounted(t *testing.T) {
	w := newWire(func(sequence uint16, data []byte) ([]ping.Answer, error) {
		switch sequence {
		case 2:
			return nil, nil // lost
		case 3:
			return []ping.Answer{good(3, data), good(3, data)}, nil // twice
		case 4:
			return []ping.Answer{{Sequence: 4, From: far, Err: &ping.TooLongError{MTU: 1400}}}, nil
		case 5:
			return nil, &ping.TooLongError{MTU: 1500}
		}
		return []ping.Answer{good(sequence, data)}, nil
	})
	s, events := session(t, w, ping.Options{Count: 6, Size: 10, Interval: time.Millisecond, Timeout: 500 * time.Millisecond})
	require.Equal(t, 6, s.Sent)
	require.Equal(t, 3, s.Received)
	require.Equal(t, 1, s.Duplicates)
	require.Equal(t, 2, s.Problems)
	require.Len(t, events, 6)
	require.LessOrEqual(t, s.Min, s.Avg)
	require.LessOrEqual(t, s.Avg, s.Max)
	require.Equal(t, ping.Event{Sequence: 1, Size: 18, From: "192.0.2.1", TTL: 63, RoundTrip: events[0].RoundTrip}, events[0])
	problems := map[int]string{}
	for _, e := range events {
		if e.Problem != "" {
			problems[e.Sequence] = e.Problem
		}
	}
	require.Equal(t, map[int]string{4: "message too long, mtu=1400", 5: "message too long, mtu=1500"}, problems)
}

func TestSequenceNumbersGoAround(t *testing.T) {
	w := newWire(func(sequence uint16, data []byte) ([]ping.Answer, error) {
		return []ping.Answer{good(sequence, data)}, nil
	})
	s, _ := session(t, w, ping.Options{Count: 70000, Timeout: 20 * time.Second})
	require.Equal(t, 70000, s.Sent)
	require.Equal(t, 70000, s.Received)
	require.Zero(t, s.Duplicates)
}

func TestPreloadedRequestsGoAtOnce(t *testing.T) {
	sent := 0
	w := newWire(func(uint16, []byte) ([]ping.Answer, error) { sent++; return nil, nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s := ping.Session(ctx, w, ping.Options{Count: 10, Preload: 7, Interval: time.Hour}, func(ping.Event) {})
	require.Equal(t, 7, s.Sent)
	require.Equal(t, 7, sent)
}

func TestTheFirstAnswerIsEnough(t *testing.T) {
	w := newWire(func(sequence uint16, data []byte) ([]ping.Answer, error) {
		if sequence < 3 {
			return nil, &ping.UnreachableError{Reason: "no route"}
		}
		return []ping.Answer{good(sequence, data)}, nil
	})
	require.NoError(t, ping.First(t.Context(), w, 4, time.Millisecond))

	w = newWire(func(uint16, []byte) ([]ping.Answer, error) { return nil, &ping.UnreachableError{Reason: "no route"} })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := ping.First(ctx, w, 4, time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "no route")
}

func TestErrorsTellOfTheRequestThatTheyQuote(t *testing.T) {
	v4 := ping.AppendRequest([]byte{
		3, 4, 0, 0, 0, 0, 0x05, 0xa6, // too big, MTU 1446
		0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	}, false, 77, 5, nil)
	answer, id, ok := ping.ParseAnswer(v4, false)
	require.True(t, ok)
	require.Equal(t, uint16(77), id)
	require.Equal(t, uint16(5), answer.Sequence)
	require.EqualError(t, answer.Err, "message too long, mtu=1446")

	ip6 := make([]byte, 40)
	ip6[0], ip6[6] = 0x60, 58
	v6 := ping.AppendRequest(append([]byte{2, 0, 0, 0, 0, 0, 0x05, 0x92}, ip6...), true, 78, 6, nil)
	answer, id, ok = ping.ParseAnswer(v6, true)
	require.True(t, ok)
	require.Equal(t, uint16(78), id)
	require.EqualError(t, answer.Err, "message too long, mtu=1426")

	for name, change := range map[string]func([]byte){
		"another protocol": func(b []byte) { b[8+9] = 17 },
		"a quoted reply":   func(b []byte) { b[28] = 0 },
		"no IPv4":          func(b []byte) { b[8] = 0x65 },
		"a long header":    func(b []byte) { b[8] = 0x4f },
		"a redirect":       func(b []byte) { b[0] = 5 },
	} {
		other := append([]byte(nil), v4...)
		change(other)
		_, _, ok := ping.ParseAnswer(other, false)
		require.False(t, ok, name)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 2, 'x'}, false)
	f.Add([]byte{129, 0, 0, 0, 0, 1, 0, 2}, true)
	f.Add(append([]byte{3, 4, 0, 0, 0, 0, 5, 0xa6, 0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 8, 0, 0, 0, 0, 77, 0, 5), false)
	f.Fuzz(func(t *testing.T, message []byte, is6 bool) {
		answer, _, ok := ping.ParseAnswer(message, is6)
		if ok && answer.Err == nil && answer.Size != len(message) {
			t.Errorf("a reply of %d bytes has %d", answer.Size, len(message))
		}
	})
}

func TestChecksumsAreRight(t *testing.T) {
	// RFC 1071: the sum of all words, with the checksum, is all ones.
	for _, size := range []int{0, 1, 2, 55, 56} {
		m := ping.AppendRequest(nil, false, 0x1234, 0xfffe, make([]byte, size))
		for i := range m[8:] {
			m[8+i] = byte(i * 7)
		}
		ping.SetChecksum(m)
		var sum uint32
		for i := 0; i < len(m); i += 2 {
			sum += uint32(m[i]) << 8
			if i+1 < len(m) {
				sum += uint32(m[i+1])
			}
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		require.Equal(t, uint32(0xffff), sum, "%d bytes", size)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []ping.Options{{Count: -1}, {Size: -1}, {Size: 65508}, {Interval: -1}, {Timeout: 25 * time.Hour}, {Preload: 4097}, {Preload: -1}} {
		require.Error(t, o.Validate(), "%+v", o)
	}
	require.NoError(t, (&ping.Options{Size: 65507, Preload: 4096}).Validate())
}

func TestTooLargePacketsOfTheKernelAreReported(t *testing.T) {
	in := namespace(t)
	require.NoError(t, netns.Do(in, func() error {
		// The silent link has an MTU of 1500.
		for to, size := range map[string]int{"192.0.2.77": 1473, "2001:db8::77": 1453} {
			conn, err := ping.Open(netip.Addr{}, netip.MustParseAddr(to), true)
			if err != nil {
				return err
			}
			err = conn.Send(1, make([]byte, size))
			_ = conn.Close()
			var tooLong *ping.TooLongError
			if !errors.As(err, &tooLong) || tooLong.MTU != 1500 {
				return fmt.Errorf("%d bytes to %s: %w", size, to, err)
			}
		}
		return nil
	}))
}
