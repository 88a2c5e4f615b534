// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"maps"
	"slices"
	"sync/atomic"
)

// mac is an Ethernet address.
type mac [6]byte

// group tells addresses of many, broadcast among them, from those of one.
func (m mac) group() bool { return m[0]&1 != 0 }

// maxLearned is how many addresses a port may have beside the one that its
// interface was made with: those of a bridge, say, or of macvlan interfaces in the
// pod. A pod that has more is treated like one that has not sent yet.
const maxLearned = 4

// vlan is the part of a VLAN's broadcast domain that is on this node.
type vlan struct {
	id       uint16
	stations atomic.Pointer[stations]
	// unknown is the sum of those of the ports.
	unknown atomic.Int32
}

// stations is who is behind which port. What is not there is behind the uplink,
// or has not spoken yet: the world outside is not learned, since there is but one
// way to it. Stations do not change: others take their place.
type stations struct {
	ports []*vlanPort
	at    map[mac]*vlanPort
	// node is the uplink's own address, which is nobody else's.
	node mac
}

func (s *stations) clone() *stations {
	return &stations{ports: slices.Clone(s.ports), at: maps.Clone(s.at), node: s.node}
}

// has tells whether a port is there.
func (s *stations) has(v *vlanPort) bool { return slices.Contains(s.ports, v) }

// joinVLAN makes a port one of its VLAN.
func (p *Plane) joinVLAN(v *vlanPort) {
	p.tables.Lock()
	defer p.tables.Unlock()
	t := p.table.Load()
	d := t.vlans[v.port.ID]
	next := &stations{at: make(map[mac]*vlanPort)}
	if d == nil {
		d = &vlan{id: v.port.ID}
	} else {
		next = d.stations.Load().clone()
	}
	v.vlan = d
	next.ports = append(next.ports, v)
	next.node = mac(p.uplink.HardwareAddr())
	if v.assigned == (mac{}) || next.at[v.assigned] != nil {
		v.more(1)
	} else {
		next.at[v.assigned] = v
	}
	d.stations.Store(next)
	if t.vlans[d.id] == nil {
		p.table.Store(t.withVLAN(d))
	}
}

// leaveVLAN takes a port out of its VLAN.
func (p *Plane) leaveVLAN(v *vlanPort) {
	p.tables.Lock()
	defer p.tables.Unlock()
	d := v.vlan
	next := d.stations.Load().clone()
	next.ports = slices.DeleteFunc(next.ports, func(o *vlanPort) bool { return o == v })
	maps.DeleteFunc(next.at, func(_ mac, o *vlanPort) bool { return o == v })
	d.stations.Store(next)
	if len(next.ports) == 0 {
		p.table.Store(p.table.Load().withoutVLAN(d.id))
	}
}

// more changes how many addresses of the pod are not known.
func (v *vlanPort) more(n int32) {
	v.unknown.Add(n)
	v.vlan.unknown.Add(n)
}

// hear notes that the pod has sent from an address that is nobody's. It runs on
// the packet path and leaves the work to learn.
func (v *vlanPort) hear(source mac) {
	if v.full.Load() {
		return
	}
	v.more(1)
	select {
	case v.heard <- source:
	default: // it will be heard again
		v.more(-1)
	}
}

// learn makes addresses that were heard known. It is a goroutine of the port.
func (v *vlanPort) learn() {
	for {
		select {
		case <-v.stop:
			return
		case source := <-v.heard:
			v.station(source)
			v.more(-1)
		}
	}
}

// station makes an address one of the port, unless it has become somebody else's
// by now. It stays the port's as long as that is joined: nobody can take it away
// by speaking in its name.
func (v *vlanPort) station(source mac) {
	p := v.plane
	p.tables.Lock()
	defer p.tables.Unlock()
	now := v.vlan.stations.Load()
	switch {
	case v.full.Load(), now.at[source] != nil, !now.has(v):
		return
	case v.learned == maxLearned:
		v.full.Store(true)
		v.more(1)
		return
	}
	next := now.clone()
	next.at[source] = v
	v.vlan.stations.Store(next)
	if v.learned++; v.learned == 1 && v.assigned == (mac{}) {
		v.more(-1) // it has spoken
	}
}
