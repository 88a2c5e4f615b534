// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// trimInterval is how often memory is looked at; a collection takes some
	// milliseconds.
	trimInterval = 10 * time.Second
	// trimAbove is how many bytes the heap may grow, from nothing or from what
	// the last collection left, before it is collected.
	trimAbove = 32 << 20
)

// trimMemory gives memory back to the system soon after a burst of traffic.
// WireGuard's buffers, 64 KiB each, stay in pools until the garbage collector
// has run twice, which it does when the heap has doubled or after two minutes:
// an idle forwarder would go on holding them. Buffers in use are not touched,
// and what a collection leaves is no reason for another. It returns when ctx
// ends.
func trimMemory(ctx context.Context, interval time.Duration) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for above := uint64(trimAbove); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if metrics.Read(heap); heap[0].Value.Uint64() > above {
				debug.FreeOSMemory()
				metrics.Read(heap)
				above = trimAbove + heap[0].Value.Uint64()
			}
		}
	}
}
