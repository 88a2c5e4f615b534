// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// TestManyTunnelsShareOnePort opens tunnels between two nodes, shakes hands
// on all at once and sends packets through all, over one UDP port each side.
func TestManyTunnelsShareOnePort(t *testing.T) {
	const packets = 10
	tunnels := 200
	if raceDetector {
		// Handshakes take twenty times as long; so many at once would take
		// more than the five seconds after which they begin again.
		tunnels = 20
	}
	x, y := twoNodes(t, netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24"))
	hx, hy := x.hub(t), y.hub(t)
	type both struct{ x, y end }
	all := make([]both, tunnels)
	for i := range all {
		kx, ky := randomKey(t), randomKey(t)
		all[i].x = openEnd(t, hx, Config{PrivateKey: kx, PeerKey: public(t, ky), Local: addrA, Remote: addrB})
		all[i].y = openEnd(t, hy, Config{PrivateKey: ky, PeerKey: public(t, kx), Local: addrB, Remote: addrA})
	}
	start := time.Now()
	failures := make(chan error, tunnels)
	var shaking sync.WaitGroup
	for _, b := range all {
		shaking.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := b.x.Handshake(ctx); err != nil {
				failures <- err
			}
		})
	}
	shaking.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if t.Failed() {
		return
	}
	t.Logf("%d handshakes at once took %v", tunnels, time.Since(start))
	for n := range packets {
		for i, b := range all {
			b.x.inside.out <- packet(200, uint32(i*packets+n))
		}
	}
	for i, b := range all {
		for n := range packets {
			b.y.inside.expect(t, uint32(i*packets+n))
		}
	}
	for name, h := range map[string]*Hub{"x": hx, "y": hy} {
		for reason, n := range h.Counters().Dropped {
			if n != 0 {
				t.Errorf("hub %s dropped %d for %s", name, n, reason)
			}
		}
	}
}
