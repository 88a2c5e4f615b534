// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"net/netip"
	"sync"
	"time"
)

// Transport sends datagrams of the hub's UDP port.
type Transport interface {
	// Send sends a burst from local to remote. It is called by many tunnels at
	// once, must not block for long, and must not keep the datagrams.
	Send(local, remote netip.AddrPort, datagrams [][]byte) error
}

// HubConfig are the settings that all tunnels of a hub share.
type HubConfig struct {
	// BatchSize is how many packets pass between a tunnel and its surroundings
	// in one call, DefaultBatchSize if zero. Each tunnel holds twice as many
	// buffers of 64 KiB.
	BatchSize int
	// Log is given what goes wrong in a tunnel, at most one line a second for
	// each. It is called from many goroutines. Nil discards. No secrets.
	Log func(format string, args ...any)
}

// DefaultBatchSize is where BenchmarkThroughput stops gaining: smaller ones take
// up to half as much processor time again, larger ones save a few per cent.
const DefaultBatchSize = 8

// Hub shares one UDP port among tunnels.
type Hub struct {
	transport Transport
	config    HubConfig
	indices   *indexTable
	counters  counters
	door      door
	// crossingWindow is the constant, but in tests.
	crossingWindow time.Duration

	// Orders before it: wireguard-go's locks. Orders after it: those of
	// inboxes. No call into a device is made with it held.
	mu      sync.Mutex
	closed  bool
	rosters rosters
}

// NewHub makes a hub without tunnels. It needs no closing as long as it has none.
func NewHub(t Transport, cfg HubConfig) *Hub {
	if cfg.BatchSize <= 0 {
		cfg.BatchSize = DefaultBatchSize
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	return &Hub{transport: t, config: cfg, indices: newIndexTable(), rosters: newRosters(time.Now), crossingWindow: crossingWindow}
}

// Receive gives the hub a burst of datagrams that came from remote to local.
// It copies what it keeps, never waits for a tunnel, and does not allocate once
// traffic is steady. It is safe for concurrent use.
func (h *Hub) Receive(remote, local netip.AddrPort, datagrams [][]byte) {
	for len(datagrams) > 0 {
		k, index, reason := parse(datagrams[0])
		switch {
		case reason != noDrop:
			h.counters.add(reason, 1)
			datagrams = datagrams[1:]
			continue
		case k == initiation:
			h.knock(remote, local, datagrams[0])
			datagrams = datagrams[1:]
			continue
		}
		sessions := h.indices.lookup(index)
		n := 1
		for n < len(datagrams) {
			if k2, index2, reason := parse(datagrams[n]); reason != noDrop || k2 != k || index2 != index {
				break
			}
			n++
		}
		if len(sessions) == 0 {
			h.counters.add(DropUnknownIndex, n)
		}
		for _, s := range sessions {
			s.received(k)
			h.deliver(s.tunnel, remote, local, datagrams[:n])
		}
		datagrams = datagrams[n:]
	}
}

func (h *Hub) deliver(t *Tunnel, remote, local netip.AddrPort, datagrams [][]byte) {
	taken, reason := t.inbox.put(datagrams, t.endpoint(remote, local))
	h.counters.add(noDrop, taken)
	if left := len(datagrams) - taken; left > 0 {
		h.counters.add(reason, left)
		t.dropped.Add(uint64(left))
	}
}

// Close closes all tunnels and refuses to open more.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	tunnels := h.rosters.all.tunnels()
	h.mu.Unlock()
	for _, t := range tunnels {
		t.Close()
	}
	h.door.close()
}
