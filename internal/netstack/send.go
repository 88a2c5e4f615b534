// SPDX-License-Identifier: Apache-2.0

package netstack

import (
	"runtime"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// Waiting for room in a full ring: a peer that runs makes some within yields, one that
// has to be scheduled first, on a busy machine, within patience. What does not fit then
// is lost.
const (
	yields   = 16
	pause    = 20 * time.Microsecond
	patience = 200 * time.Millisecond
)

func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	if l.mode == memif.IP {
		return
	}
	frame := header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize))
	frame.Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// WritePackets sends a burst. Packets that cannot be sent are lost, not refused: the
// protocols above count on repetition, not on errors.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tx == nil {
		return list.Len(), nil
	}
	burst := l.burst[:0]
	for _, pkt := range list.AsSlice() {
		views, offset := pkt.AsViewList()
		for view := views.Front(); view != nil; view = view.Next() {
			part := view.AsSlice()
			if offset >= len(part) {
				offset -= len(part)
				continue
			}
			burst = append(burst, memif.Packet{Data: part[offset:], Next: true})
			offset = 0
		}
		if len(burst) > 0 {
			burst[len(burst)-1].Next = false
		}
	}
	l.transmit(burst)
	clear(burst)
	l.burst = burst
	return list.Len(), nil
}

// transmit waits for room while there is hope.
func (l *link) transmit(burst []memif.Packet) {
	var since time.Time
	for attempt := 0; ; attempt++ {
		sent := l.tx.Send(burst)
		if burst = burst[sent:]; len(burst) == 0 {
			return
		}
		if sent > 0 {
			attempt = 0
		}
		switch {
		case l.ended():
			return
		case attempt < yields:
			since = time.Now()
			runtime.Gosched()
		case time.Since(since) < patience:
			time.Sleep(pause)
		default:
			return
		}
	}
}

// ended tells whether the peer is gone.
func (l *link) ended() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}
