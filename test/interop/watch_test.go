// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// watch is where a process prints; it tells when a text has come.
type watch struct {
	text string
	seen chan struct{}

	mu  sync.Mutex
	all strings.Builder
}

func newWatch(text string) *watch {
	return &watch{text: text, seen: make(chan struct{}, 100)}
}

func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Count(w.all.String(), w.text)
	w.all.Write(p)
	for range strings.Count(w.all.String(), w.text) - before {
		w.seen <- struct{}{}
	}
	return len(p), nil
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// await returns when the text has come once more than await was called.
func (w *watch) await(t *testing.T) {
	t.Helper()
	select {
	case <-w.seen:
	case <-time.After(10 * time.Second):
		t.Fatalf("%q was not printed:\n%s", w.text, w)
	}
}
