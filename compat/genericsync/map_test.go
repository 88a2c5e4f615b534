// SPDX-License-Identifier: Apache-2.0

package genericsync_test

import (
	"io"
	"sync"
	"testing"

	"github.com/edwarnicke/genericsync"
)

func TestMapKeepsTypesAndPresence(t *testing.T) {
	var m genericsync.Map[string, int]
	if v, ok := m.Load("a"); ok || v != 0 {
		t.Fatalf("Load of an empty map = %v, %v", v, ok)
	}
	m.Store("a", 1)
	if v, loaded := m.LoadOrStore("a", 2); !loaded || v != 1 {
		t.Fatalf("LoadOrStore of a present key = %v, %v; want 1, true", v, loaded)
	}
	if v, loaded := m.LoadOrStore("b", 2); loaded || v != 2 {
		t.Fatalf("LoadOrStore of an absent key = %v, %v; want 2, false", v, loaded)
	}
	sum := 0
	m.Range(func(k string, v int) bool { sum += v; return true })
	if sum != 3 {
		t.Fatalf("Range saw %d in all, want 3", sum)
	}
	calls := 0
	m.Range(func(string, int) bool { calls++; return false })
	if calls != 1 {
		t.Fatalf("Range went on for %d calls after false", calls)
	}
	if v, loaded := m.LoadAndDelete("a"); !loaded || v != 1 {
		t.Fatalf("LoadAndDelete = %v, %v; want 1, true", v, loaded)
	}
	m.Delete("b")
	if _, ok := m.Load("b"); ok {
		t.Fatal("deleted key is still there")
	}
}

func TestMapHoldsNilInterfaces(t *testing.T) {
	var m genericsync.Map[int, io.Reader]
	m.Store(1, nil)
	if v, ok := m.Load(1); v != nil || !ok {
		t.Fatalf("Load = %v, %v; want nil, true", v, ok)
	}
	m.Range(func(_ int, v io.Reader) bool {
		if v != nil {
			t.Errorf("Range gave %v, want nil", v)
		}
		return true
	})
	if v, loaded := m.LoadOrStore(1, nil); v != nil || !loaded {
		t.Fatalf("LoadOrStore = %v, %v; want nil, true", v, loaded)
	}
}

func TestMapConcurrentLoadOrStoreAgree(t *testing.T) {
	var m genericsync.Map[string, int]
	var wg sync.WaitGroup
	got := make([]int, 32)
	for i := range got {
		wg.Go(func() { got[i], _ = m.LoadOrStore("k", i) })
	}
	wg.Wait()
	for _, v := range got {
		if v != got[0] {
			t.Fatalf("LoadOrStore disagreed: %v", got)
		}
	}
}

func TestPoolMakesWhenEmpty(t *testing.T) {
	made := 0
	p := genericsync.New(func() *int { made++; return &made })
	if v := p.Get(); v == nil || *v != 1 {
		t.Fatalf("Get of an empty pool = %v", v)
	}
	p.Put(new(int))
	if p.Get() == nil {
		t.Fatal("Get = nil")
	}
}
