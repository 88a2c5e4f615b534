// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// loadSpec is the compiled program, fit for a kernel with or without
// multi-buffer XDP.
func loadSpec(multiBuffer bool) (*ebpf.CollectionSpec, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	if !multiBuffer {
		spec.Programs[bpfProgNsmClassifier].Flags &^= unix.BPF_F_XDP_HAS_FRAGS
		if err := spec.Variables[bpfVarMultiBuffer].Set(uint8(0)); err != nil {
			return nil, fmt.Errorf("read program: %w", err)
		}
	}
	return spec, nil
}

// haveMultiBuffer is false only if the kernel is known to lack multi-buffer XDP
// (before 5.18): a probe that fails for another reason says nothing.
var haveMultiBuffer = sync.OnceValue(func() bool {
	err := features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen)
	return !errors.Is(err, ebpf.ErrNotSupported)
})

// mapNames are the maps that are pinned.
var mapNames = []string{bpfMapXsksMap, bpfMapPinholes, bpfMapVnis, bpfMapVlans, bpfMapFragments, bpfMapCounters}

func (m *bpfMaps) byName() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		bpfMapXsksMap:   m.XsksMap,
		bpfMapPinholes:  m.Pinholes,
		bpfMapVnis:      m.Vnis,
		bpfMapVlans:     m.Vlans,
		bpfMapFragments: m.Fragments,
		bpfMapCounters:  m.Counters,
	}
}

// forget empties all that makes the program redirect a frame, ports first: what
// is left then matches nothing.
func (m *bpfMaps) forget() error {
	return errors.Join(
		empty[bpfPinholeKey](m.Pinholes),
		empty[uint16](m.Vlans),
		empty[bpfVniKey](m.Vnis),
		empty[bpfFragmentKey](m.Fragments),
	)
}

// empty deletes all entries of a hash map. A running program may add entries
// meanwhile, and the LRU may evict some.
func empty[K any](m *ebpf.Map) error {
	for {
		var key K
		err := m.NextKey(nil, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err == nil {
			err = m.Delete(&key)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("empty map: %w", err)
		}
	}
}

func closeMaps(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		_ = m.Close() // a file descriptor of our own, nothing is written back
	}
}
