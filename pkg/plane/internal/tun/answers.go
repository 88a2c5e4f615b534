// SPDX-License-Identifier: Apache-2.0

package tun

import "time"

// Answers to packets that are too big are limited as in Linux (icmp_msgs_burst,
// and half of icmp_ratelimit): a burst, and then one per interval.
const (
	answerBurst    = 50
	answerInterval = 10 * time.Millisecond
)

// Answers limits how often a port answers.
type Answers struct {
	left int
	last time.Time
}

// Allow tells whether to answer once more.
func (a *Answers) Allow() bool {
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
