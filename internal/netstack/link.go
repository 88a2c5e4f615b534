// SPDX-License-Identifier: Apache-2.0

package netstack

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// link is the stack's interface. Packets go out in the goroutine that sends them, with
// mu held for a burst at a time (send.go), and come in in a goroutine for each receive
// ring (receive.go). Without a peer they are dropped, as by a cable that is
// not plugged in.
type link struct {
	iface atomic.Pointer[memif.Interface]
	mode  memif.Mode
	mac   atomic.Pointer[tcpip.LinkAddress]
	mtu   atomic.Uint32

	dispatcher atomic.Pointer[stack.NetworkDispatcher]

	mu    sync.Mutex
	tx    *memif.TxQueue  // nil without a peer
	gone  <-chan struct{} // closed when tx's peer is gone
	burst []memif.Packet
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

func newLink(opts Options) *link {
	l := &link{mode: opts.Mode}
	l.iface.Store(opts.Interface)
	l.mtu.Store(DefaultMTU)
	var mac tcpip.LinkAddress
	if opts.Mode == memif.Ethernet {
		mac = macOf(opts.Seed)
	}
	l.mac.Store(&mac)
	return l
}

// quickEnd is a life of a connection so short that the next attempt had better wait
// for as long.
const quickEnd = 100 * time.Millisecond

// run serves one peer after the other until ctx ends. changed is called for each but the
// first, before its first packet.
func (l *link) run(ctx context.Context, changed func()) {
	for first := true; ; first = false {
		iface := l.iface.Load()
		conn, err := iface.Connect(ctx)
		if err != nil {
			if ctx.Err() == nil && l.iface.Load() != iface {
				continue // replaced
			}
			return
		}
		started := time.Now()
		if !first {
			changed()
		}
		l.serve(ctx, conn)
		if time.Since(started) < quickEnd {
			select {
			case <-time.After(quickEnd):
			case <-ctx.Done():
			}
		}
	}
}

// serve moves packets until the connection or ctx ends.
func (l *link) serve(ctx context.Context, conn *memif.Conn) {
	defer func() { _ = conn.Close() }()
	var receiving sync.WaitGroup
	for _, queue := range conn.Rx() {
		r, err := newReceiver(l, conn, queue)
		if err != nil {
			continue // out of file descriptors: the next connection may be luckier
		}
		receiving.Go(func() { r.run(ctx) })
		// Whoever sleeps for packets is woken by the end of the connection only.
		defer context.AfterFunc(ctx, r.wake)()
	}
	l.setQueue(conn.Tx()[0], conn.Done())
	select {
	case <-conn.Done():
	case <-ctx.Done():
	}
	l.setQueue(nil, nil)
	receiving.Wait()
}

func (l *link) setQueue(tx *memif.TxQueue, gone <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tx, l.gone = tx, gone
}

func (l *link) up() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tx != nil
}

// MTU without the Ethernet header.
func (l *link) MTU() uint32 { return l.mtu.Load() }

func (l *link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

func (l *link) MaxHeaderLength() uint16 {
	if l.mode == memif.IP {
		return 0
	}
	return header.EthernetMinimumSize
}

func (l *link) LinkAddress() tcpip.LinkAddress { return *l.mac.Load() }

func (l *link) SetLinkAddress(mac tcpip.LinkAddress) { l.mac.Store(&mac) }

// Capabilities have no offload of checksums: a memif has no place to say that one is
// missing.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	if l.mode == memif.IP {
		return stack.CapabilityNone
	}
	return stack.CapabilityResolutionRequired
}

func (l *link) Attach(dispatcher stack.NetworkDispatcher) {
	if dispatcher == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&dispatcher)
}

func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// Wait has nothing to wait for: the goroutines are Stack's.
func (l *link) Wait() {}

func (l *link) Close() {}

func (l *link) SetOnCloseAction(func()) {}

func (l *link) ARPHardwareType() header.ARPHardwareType {
	if l.mode == memif.IP {
		return header.ARPHardwareNone
	}
	return header.ARPHardwareEther
}

// GSOMaxSize is how much TCP hands down at once, to be segmented on the way.
func (l *link) GSOMaxSize() uint32 { return stack.GVisorGSOMaxSize }

func (l *link) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }
