// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"
)

// kernelPlane are the rows about the kernel plane: against the same devices made by
// hand.
func (b *bench) kernelPlane() (rows []*comparison) {
	started := sync.OnceValues(func() (*mesh, error) {
		m, stop, err := startMesh(b.ctx, b.bin, "kernel")
		if err == nil {
			b.add(stop)
		}
		return m, err
	})
	of := func(pick func(*mesh) *path) func() (*path, error) {
		return func() (*path, error) {
			m, err := started()
			if err != nil {
				return nil, err
			}
			return pick(m), nil
		}
	}
	device := ofPeers(b, func(p *peers) (*path, error) { return p.device(b.ctx) })
	for _, k := range []struct {
		name       string
		ours, peer func() (*path, error)
		peerName   string
	}{
		{"VXLAN", of(func(m *mesh) *path { return m.vxlan }), device, "a bare device"},
		{"WireGuard", of(func(m *mesh) *path { return m.wireguard }), b.wireguardGo, "wireguard-go"},
		{"local", of(func(m *mesh) *path { return m.local }), b.linuxLocal, "bare veth"},
	} {
		rows = append(rows, &comparison{
			name: fmt.Sprintf("TCP %s, kernel plane, streams 1, to %s", k.name, k.peerName), unit: "Gbit/s", aim: ratio(0.95),
			ours: b.tcp(k.ours, 1), peer: b.tcp(k.peer, 1),
		})
		if k.name == "WireGuard" {
			continue // where Linux has no WireGuard the two are the same program
		}
		rows = append(rows, &comparison{
			name: fmt.Sprintf("UDP %s, kernel plane, 64 bytes, most, to %s", k.name, k.peerName), unit: "packets/s", aim: ratio(0.95),
			ours: b.rates(k.ours, 64), peer: b.rates(k.peer, 64),
		})
	}
	return rows
}
