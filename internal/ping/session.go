// SPDX-License-Identifier: Apache-2.0

package ping

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Conn sends echo requests to one host and receives the answers. Send and Receive may
// be used by a goroutine each.
type Conn interface {
	// Send sends a request. An error wraps a *TooLongError if it is larger than the
	// interface takes and must not be fragmented. No error is final.
	Send(sequence uint16, data []byte) error
	// Receive waits for an answer. An error is final.
	Receive() (Answer, error)
	// Close makes Receive return.
	Close() error
}

// Answer is what came back for a request.
type Answer struct {
	Sequence uint16
	// Size of the ICMP message in bytes.
	Size int
	From netip.Addr
	// TTL that was left, or the hop limit; 0 if it is not known.
	TTL int
	// Err is nil for a reply, and otherwise a *TooLongError or an *UnreachableError.
	Err error
}

// Options of a Session. The zero values send nothing.
type Options struct {
	// Count of requests; 0 goes on until the context ends.
	Count int `json:"count"`
	// Size of the data of each, in bytes.
	Size int `json:"size"`
	// Interval between two; with 0 the next goes when the last is answered, and after
	// 10 ms at the latest.
	Interval time.Duration `json:"interval"`
	// Preload of them go at once.
	Preload int `json:"preload"`
	// Timeout of the wait for answers after the last.
	Timeout time.Duration `json:"timeout"`
	// DontFragment refuses to send what is larger than the interface's MTU, and tells
	// routers to do so with theirs.
	DontFragment bool `json:"dontFragment"`
}

// Limits of Options.
const (
	MaxSize    = 1<<16 - 1 - 20 - icmpHeader
	MaxPreload = 1 << 12
	maxWait    = 24 * time.Hour
)

// Validate checks the options.
func (o *Options) Validate() error {
	switch {
	case o.Count < 0:
		return errors.New("count is negative")
	case o.Size < 0 || o.Size > MaxSize:
		return errors.New("size: want 0 to 65507 bytes")
	case o.Interval < 0 || o.Interval > maxWait || o.Timeout < 0 || o.Timeout > maxWait:
		return errors.New("interval and timeout: want 0 to 24h")
	case o.Preload < 0 || o.Preload > MaxPreload:
		return errors.New("preload: want 0 to 4096")
	}
	return nil
}

// Event is one thing that happened in a Session.
type Event struct {
	Sequence  int           `json:"sequence"`
	Size      int           `json:"size,omitempty"`
	From      string        `json:"from,omitempty"`
	TTL       int           `json:"ttl,omitempty"`
	RoundTrip time.Duration `json:"roundTrip,omitempty"`
	Duplicate bool          `json:"duplicate,omitempty"`
	// Problem is what went wrong; empty for a reply.
	Problem string `json:"problem,omitempty"`
}

// Summary of a Session. Received counts no duplicates.
type Summary struct {
	Sent       int           `json:"sent"`
	Received   int           `json:"received"`
	Duplicates int           `json:"duplicates,omitempty"`
	Problems   int           `json:"problems,omitempty"`
	Elapsed    time.Duration `json:"elapsed"`
	Min        time.Duration `json:"min,omitempty"`
	Avg        time.Duration `json:"avg,omitempty"`
	Max        time.Duration `json:"max,omitempty"`
}

// floodWait is how long a session with an interval of 0 waits for an answer.
const floodWait = 10 * time.Millisecond

// Session sends requests on conn until all are answered, the time is over or ctx ends,
// and reports what happens. It closes conn.
func Session(ctx context.Context, conn Conn, o Options, report func(Event)) Summary {
	s := session{conn: conn, options: o, report: report, data: filling(o.Size), pending: make(map[uint16]time.Time)}
	return s.run(ctx)
}

// filling counts up, as that of ping does.
func filling(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i)
	}
	return data
}

type session struct {
	conn    Conn
	options Options
	report  func(Event)
	data    []byte
	// pending are the times at which requests were sent that have not been answered.
	pending map[uint16]time.Time
	summary Summary
	total   time.Duration
	// patient sessions wait for an answer when all requests have met with problems,
	// too.
	patient bool
}

type arrival struct {
	Answer
	at time.Time
}

func (s *session) run(ctx context.Context) Summary {
	started := time.Now()
	arrivals := make(chan arrival, MaxPreload)
	over := make(chan struct{})
	go func() {
		defer close(arrivals)
		for {
			answer, err := s.conn.Receive()
			if err != nil {
				return
			}
			select {
			case arrivals <- arrival{answer, time.Now()}:
			case <-over:
				return
			}
		}
	}()
	defer func() {
		close(over)
		_ = s.conn.Close()
		for range arrivals { //nolint:revive // what comes now is too late, but its sender must end
		}
	}()

	for range max(1, s.options.Preload) {
		if s.more() {
			s.send()
		}
	}
	timer := time.NewTimer(s.pause())
	defer timer.Stop()
	for !s.complete() {
		select {
		case a, ok := <-arrivals:
			if !ok {
				return s.result(started)
			}
			if s.receive(a) && s.options.Interval == 0 && s.more() {
				s.send()
				timer.Reset(s.pause())
			}
		case <-timer.C:
			if !s.more() {
				return s.result(started)
			}
			s.send()
			timer.Reset(s.pause())
		case <-ctx.Done():
			return s.result(started)
		}
	}
	return s.result(started)
}

// more tells whether there is another request to send.
func (s *session) more() bool { return s.options.Count == 0 || s.summary.Sent < s.options.Count }

// complete tells whether every request has had its answer.
func (s *session) complete() bool {
	return !s.more() && !s.patient && s.summary.Received+s.summary.Problems >= s.summary.Sent
}

// pause is how long to wait before the next request, or for the last answers.
func (s *session) pause() time.Duration {
	switch {
	case !s.more():
		return s.options.Timeout
	case s.options.Interval == 0:
		return floodWait
	}
	return s.options.Interval
}

func (s *session) send() {
	s.summary.Sent++
	sequence := uint16(s.summary.Sent)
	s.pending[sequence] = time.Now()
	if err := s.conn.Send(sequence, s.data); err != nil {
		delete(s.pending, sequence)
		s.problem(Event{Sequence: int(sequence), Problem: err.Error()})
	}
}

func (s *session) problem(e Event) {
	s.summary.Problems++
	s.report(e)
}

// receive tells whether the answer is one that was waited for.
func (s *session) receive(a arrival) bool {
	sent, waited := s.pending[a.Sequence]
	delete(s.pending, a.Sequence)
	event := Event{Sequence: int(a.Sequence), Size: a.Size, TTL: a.TTL}
	if a.From.IsValid() {
		event.From = a.From.String()
	}
	if a.Err != nil {
		if !waited {
			return false
		}
		event.Problem = a.Err.Error()
		s.problem(event)
		return true
	}
	if !waited {
		event.Duplicate = true
		s.summary.Duplicates++
		s.report(event)
		return false
	}
	event.RoundTrip = a.at.Sub(sent)
	s.summary.Received++
	s.total += event.RoundTrip
	s.summary.Max = max(s.summary.Max, event.RoundTrip)
	if s.summary.Min == 0 || event.RoundTrip < s.summary.Min {
		s.summary.Min = event.RoundTrip
	}
	s.report(event)
	return true
}

func (s *session) result(started time.Time) Summary {
	s.summary.Elapsed = time.Since(started)
	if s.summary.Received > 0 {
		s.summary.Avg = s.total / time.Duration(s.summary.Received)
	}
	return s.summary
}

// First sends count requests at most, spread over interval each, and returns nil as soon
// as one is answered. It goes on waiting until ctx ends, and closes conn.
func First(ctx context.Context, conn Conn, count int, interval time.Duration) error {
	waiting, answered := context.WithCancel(ctx)
	defer answered()
	var problem error
	s := session{
		conn: conn, data: []byte("nsm liveness"), pending: make(map[uint16]time.Time), patient: true,
		options: Options{Count: count, Interval: interval, Timeout: maxWait},
		report: func(e Event) {
			if e.Problem == "" {
				answered()
				return
			}
			problem = errors.New(e.Problem)
		},
	}
	if s.run(waiting).Received > 0 {
		return nil
	}
	return errors.Join(context.Cause(ctx), problem)
}
