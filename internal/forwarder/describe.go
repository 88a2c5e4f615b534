// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"fmt"
	"maps"

	"github.com/nsm-afxdp/forwarder/internal/status"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// describe fills in what the status tells of the node.
func (n *node) describe(s *status.Status) error {
	s.Uplink = &status.Uplink{
		Interface: n.uplink.Name(), Address: n.uplink.Addr(), MTU: n.uplink.MTU(), Queues: n.uplink.Queues(),
	}
	s.Hops = n.uplink.Hops()
	s.Drops = n.someDrops()
	s.Settings = n.settings.Changes()
	links := n.plane.Links()
	for i := range links {
		s.Links = append(s.Links, status.NewLink(&links[i]))
	}
	if n.classifier == nil {
		return nil
	}
	return n.describeClassifier(s, links)
}

func (n *node) describeClassifier(s *status.Status, links []plane.Link) error {
	s.Uplink.XDPMode, s.Uplink.ZeroCopy = n.classifier.Mode().String(), true
	for _, socket := range n.sockets.Sockets() {
		s.Uplink.ZeroCopy = s.Uplink.ZeroCopy && socket.ZeroCopy()
	}
	counters, err := n.classifier.Counters()
	if err != nil {
		return err
	}
	for _, c := range counters {
		if c.Packets > 0 {
			s.Counters = append(s.Counters, status.Counter{
				Verdict: string(c.Verdict), Reason: c.Reason, Packets: c.Packets, Bytes: c.Bytes,
			})
		}
	}
	for _, p := range n.classifier.Pinholes() {
		s.Pinholes = append(s.Pinholes, status.Pinhole{To: p.String(), References: p.References})
	}
	for _, id := range n.classifier.VLANs() {
		s.Pinholes = append(s.Pinholes, status.Pinhole{To: fmt.Sprintf("VLAN %d", id), References: onVLAN(links, id)})
	}
	return nil
}

// onVLAN counts the connections on a VLAN of the uplink.
func onVLAN(links []plane.Link, id uint16) (connections int) {
	for i := range links {
		if links[i].Endpoint.Port == (plane.VLAN{ID: id}) {
			connections++
		}
	}
	return connections
}

// someDrops are the drops, without reasons that there were none for.
func (n *node) someDrops() map[string]uint64 {
	drops := n.plane.Drops()
	maps.DeleteFunc(drops, func(_ string, packets uint64) bool { return packets == 0 })
	return drops
}
