// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestMemoryThatIsNotUsedGoesBack(t *testing.T) {
	// The garbage collector alone would not run.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	released := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapReleased
	}
	var buffers [][]byte
	for range 2 * trimAbove >> 16 {
		buffers = append(buffers, make([]byte, 1<<16))
	}
	runtime.KeepAlive(buffers)
	before := released()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		trimMemory(ctx, time.Millisecond)
	}()
	for deadline := time.Now().Add(10 * time.Second); released() < before+trimAbove; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes went back to the system", released()-before)
		}
	}
	cancel()
	<-done
}
