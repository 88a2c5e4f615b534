// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
)

// Answers to packets that are too big are limited as in Linux (icmp_msgs_burst,
// and half of icmp_ratelimit): a burst, and then one per interval.
const (
	answerBurst    = 50
	answerInterval = 10 * time.Millisecond
)

// answers limits how often a port answers.
type answers struct {
	left int
	last time.Time
}

func (a *answers) allow() bool {
	now := time.Now()
	if earned := now.Sub(a.last) / answerInterval; earned > 0 {
		a.left = int(min(time.Duration(a.left)+earned, answerBurst))
		a.last = now
	}
	if a.left == 0 {
		return false
	}
	a.left--
	return true
}

// answer tells a pod that a packet it has sent is too big for the tunnel, where
// packets may have limit bytes.
func (w *worker) answer(to sink, a *answers, f *frame, link packet.Link, limit int) {
	if !a.allow() {
		return
	}
	n := packet.TooBig(w.reply[headroom:], f.bytes(), link, limit)
	if n == 0 {
		return
	}
	w.replies[0] = frame{buf: w.reply[:], start: headroom, end: headroom + n, addr: noFrame}
	to.send(w, w.replies[:])
}
