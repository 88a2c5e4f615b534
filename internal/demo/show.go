// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"strings"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/status"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

func (d *demo) show(statuses []*status.Status) {
	for i, s := range statuses {
		_, _ = fmt.Fprintf(d.Out, "\n--- node %d: forwarder status ---\n", i+1)
		_ = s.WriteTable(d.Out)
	}
	_, _ = fmt.Fprint(d.Out, "\n--- the path of a packet from client to endpoint ---\n")
	for _, k := range d.links {
		_, _ = fmt.Fprintf(d.Out, "\n%s\n", k.Name)
		for _, line := range d.path(k, statuses) {
			_, _ = fmt.Fprintf(d.Out, "  %s\n", line)
		}
	}
}

// path is the stations of a packet, as the forwarders tell of them.
func (d *demo) path(k *lab.Linked, statuses []*status.Status) []string {
	ways := k.Ways()
	stations := []string{fmt.Sprintf("node 1  client pod, %s", ways[1].To)}
	for i, s := range statuses {
		l, err := linkOf(s, k)
		if err != nil || l == nil {
			continue
		}
		node := fmt.Sprintf("node %d  ", i+1)
		if i > 0 {
			stations = append(stations, node+arrive(s))
		}
		stations = append(stations, node+carry(l))
		if i == 0 && !k.Local() {
			stations = append(stations, node+leave(s))
		}
	}
	where := "node 2  endpoint pod"
	switch {
	case k.Local():
		where = "node 1  endpoint pod"
	case k.Host != nil:
		where = "        a host that is not ours, its frames tagged with VLAN " + fmt.Sprint(k.VLAN)
	}
	return append(stations, fmt.Sprintf("%s, %s", where, ways[0].To))
}

// carry is what a forwarder makes of a link.
func carry(l *status.Link) string {
	ports := []string{describe(l.Client, l.Payload), describe(l.Endpoint, l.Payload)}
	switch l.Path {
	case "veth":
		return "a veth pair: no packet passes the forwarder"
	case "direct memif":
		return "memory that both pods share: no packet passes the forwarder"
	case "embedded":
		return "forwarder: " + strings.Join(ports, " -> ")
	}
	return l.Path + ": " + strings.Join(ports, " -> ")
}

// describe is a port in words for a picture.
func describe(p status.Port, payload string) string {
	switch plane.Kind(p.Kind) {
	case plane.KindKernel:
		device := map[string]string{"ETHERNET": "TAP", "IP": "TUN"}[payload]
		return device + " (kernel)"
	case plane.KindMemif:
		return "memif"
	}
	return p.Description
}

func leave(s *status.Status) string {
	if s.Plane == "embedded" {
		return "AF_XDP socket -> " + uplinkOf(s)
	}
	return "Linux -> " + uplinkOf(s)
}

func arrive(s *status.Status) string {
	if s.Plane == "embedded" {
		return uplinkOf(s) + " -> XDP classifier -> AF_XDP socket (all else: Linux)"
	}
	return uplinkOf(s) + " -> Linux"
}

func uplinkOf(s *status.Status) string {
	if s.Uplink == nil {
		return "uplink"
	}
	return fmt.Sprintf("%s %s", s.Uplink.Interface, s.Uplink.Address)
}
