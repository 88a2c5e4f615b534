// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
)

// answer tells a pod that a packet it has sent is too big for the tunnel, where
// packets may have limit bytes.
func (w *worker) answer(to sink, a *tun.Answers, f *frame, link packet.Link, limit int) {
	if !a.Allow() {
		return
	}
	n := packet.TooBig(w.reply[headroom:], f.bytes(), link, limit)
	if n == 0 {
		return
	}
	w.replies[0] = frame{buf: w.reply[:], start: headroom, end: headroom + n, addr: noFrame}
	to.send(w, w.replies[:])
}
