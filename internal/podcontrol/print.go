// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/ping"
	"github.com/nsm-afxdp/forwarder/internal/throughput"
)

// printer writes news as ping(8) and iperf3(1) do.
type printer struct {
	out     io.Writer
	request Request
	quiet   bool // no line for each answer, or each second
	json    bool // nothing but the result

	// What came last, if it came.
	summary *ping.Summary
	result  *throughput.Result
	failure string
}

func (p *printer) line(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format+"\n", args...) }

func (p *printer) begin() {
	if o := p.request.Ping; o != nil {
		p.line("PING %s %d(%d) bytes of data.", p.request.Address, o.Size, o.Size+ping.HeaderSize(p.request.Address))
	}
}

func (p *printer) tell(r Response) {
	switch {
	case r.Event != nil:
		p.event(*r.Event)
	case r.Summary != nil:
		p.summary = r.Summary
		p.statistics(*r.Summary)
	case r.Interval != nil:
		if !p.quiet && !p.json {
			i := *r.Interval
			p.line("%6.2f-%-6.2f sec  %8.2f MBytes  %s", i.From, i.To, float64(i.Bytes)/1e6, rate(float64(i.Bytes)*8/(i.To-i.From)))
		}
	case r.Result != nil:
		p.result = r.Result
		p.measured(*r.Result)
	default:
		p.failure = r.Error
	}
}

func (p *printer) event(e ping.Event) {
	switch {
	case e.Problem != "" && e.From != "":
		p.line("From %s icmp_seq=%d %s", e.From, e.Sequence, e.Problem)
	case e.Problem != "":
		p.line("ping: local error: icmp_seq=%d %s", e.Sequence, e.Problem)
	case p.quiet:
	case e.Duplicate:
		p.line("%d bytes from %s: icmp_seq=%d ttl=%d (DUP!)", e.Size, e.From, e.Sequence, e.TTL)
	default:
		p.line("%d bytes from %s: icmp_seq=%d ttl=%d time=%s ms", e.Size, e.From, e.Sequence, e.TTL, milliseconds(e.RoundTrip))
	}
}

func (p *printer) statistics(s ping.Summary) {
	p.line("\n--- %s ping statistics ---", p.request.Address)
	if s.Problems > 0 || s.Duplicates > 0 {
		p.line("%d errors, %d duplicates", s.Problems, s.Duplicates)
	}
	loss := 0.0
	if s.Sent > 0 {
		loss = 100 * float64(s.Sent-s.Received) / float64(s.Sent)
	}
	p.line("%d packets transmitted, %d received, %s%% packet loss, time %dms",
		s.Sent, s.Received, strconv.FormatFloat(loss, 'g', 6, 64), s.Elapsed.Milliseconds())
	if s.Received > 0 {
		p.line("rtt min/avg/max = %s/%s/%s ms", milliseconds(s.Min), milliseconds(s.Avg), milliseconds(s.Max))
	}
}

func (p *printer) measured(r throughput.Result) {
	if p.json {
		text, _ := json.Marshal(r) // it has no field that could fail
		p.line("%s", text)
		return
	}
	direction := "sent"
	if r.Reverse {
		direction = "received"
	}
	p.line("%s %.2f MBytes in %.2f seconds: %s (%s, %d streams), no byte for %.3f s at most",
		direction, float64(r.Bytes)/1e6, r.Seconds, rate(r.BitsPerSecond), r.Protocol, r.Streams, r.LongestGapSeconds)
}

// milliseconds has as many digits as ping(8) prints.
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	digits := 3
	for limit := 1.0; digits > 0 && ms >= limit*1000; limit *= 10 {
		digits--
	}
	return strconv.FormatFloat(ms, 'f', digits, 64)
}

func rate(bits float64) string {
	if math.IsNaN(bits) || math.IsInf(bits, 0) {
		bits = 0
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if bits >= unit.size {
			return fmt.Sprintf("%.2f %s", bits/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f bit/s", bits)
}
