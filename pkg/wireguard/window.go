// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"sync/atomic"
	"time"
)

// Inside a device, packets wait for keys and for ciphers in queues that are
// bounded by numbers in the thousands of bursts, with 64 KiB for each packet:
// whoever feeds a device faster than it works makes the process grow by
// hundreds of megabytes. So what is in a device, in either direction, is limited
// here, and the surplus waits where it costs little: in the pod's interface or
// in the inbox.
const (
	windowPackets = 256
	// windowStall is how long nothing must have come out of the device until
	// what went in is taken for gone: a device discards what it cannot
	// authenticate, and what it has no session for, without a word.
	windowStall = 5 * time.Millisecond
)

// window counts packets in one direction of a device. One goroutine lets them
// in, any number see them come out.
type window struct {
	inside  atomic.Int64
	waiting atomic.Bool
	freed   chan struct{} // holds at most one
	timer   *time.Timer   // of the goroutine that lets in
	stall   time.Duration // the constant, but in tests
}

func newWindow() *window {
	w := &window{freed: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), stall: windowStall}
	w.timer.Stop()
	return w
}

// wait returns when there is room for a burst.
func (w *window) wait() {
	before := w.inside.Load()
	if before < windowPackets {
		return
	}
	w.waiting.Store(true)
	defer w.waiting.Store(false)
	w.timer.Reset(w.stall)
	defer w.timer.Stop()
	for w.inside.Load() >= windowPackets {
		select {
		case <-w.freed:
		case <-w.timer.C:
			if now := w.inside.Load(); now != before {
				before = now
				w.timer.Reset(w.stall)
				continue
			}
			w.inside.Store(0)
		}
	}
}

func (w *window) in(packets int) { w.inside.Add(int64(packets)) }

func (w *window) out(packets int) {
	for {
		before := w.inside.Load()
		// Fewer than none are inside when some were taken for gone too early.
		after := max(0, before-int64(packets))
		if !w.inside.CompareAndSwap(before, after) {
			continue
		}
		if after <= windowPackets/2 && w.waiting.Load() {
			select {
			case w.freed <- struct{}{}:
			default:
			}
		}
		return
	}
}
