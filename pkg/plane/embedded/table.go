// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"maps"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
)

// tunnelKey is what a received VXLAN packet is told apart by. The remote is
// part of it because VNIs are chosen per pair of nodes.
type tunnelKey struct {
	local, remote packet.Addr
	vni           uint32
	port          uint16
}

// table is what workers and senders look up in. A table does not change: another
// one takes its place.
type table struct {
	tunnels map[tunnelKey]*vxlanPort
	hubs    map[hubKey]*hub
	paths   map[pathKey]*path
	vlans   map[uint16]*vlan
}

func newTable() *table {
	return &table{
		tunnels: make(map[tunnelKey]*vxlanPort),
		hubs:    make(map[hubKey]*hub),
		paths:   make(map[pathKey]*path),
		vlans:   make(map[uint16]*vlan),
	}
}

// why tells unknown tunnels from those of somebody else.
func (t *table) why(key tunnelKey) packet.Reason {
	for k := range t.tunnels {
		if k.local == key.local && k.port == key.port && k.vni == key.vni {
			return dropStranger
		}
	}
	return dropUnknown
}

// with is the table and one tunnel more.
func (t *table) with(key tunnelKey, v *vxlanPort) *table {
	c := t.clone()
	c.tunnels[key] = v
	return c
}

// without is the table without a tunnel.
func (t *table) without(key tunnelKey) *table {
	c := t.clone()
	delete(c.tunnels, key)
	return c
}

// withVLAN is the table and one VLAN more, withoutVLAN the one without it.
func (t *table) withVLAN(v *vlan) *table {
	c := t.clone()
	c.vlans[v.id] = v
	return c
}

func (t *table) withoutVLAN(id uint16) *table {
	c := t.clone()
	delete(c.vlans, id)
	return c
}

func (t *table) clone() *table {
	return &table{tunnels: maps.Clone(t.tunnels), hubs: maps.Clone(t.hubs), paths: maps.Clone(t.paths), vlans: maps.Clone(t.vlans)}
}
