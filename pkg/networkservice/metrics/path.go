// SPDX-License-Identifier: Apache-2.0

// Package metrics publishes what a connection's ports have counted: in the
// connection's path, where every hop can read it, and to Prometheus.
package metrics

import (
	"fmt"
	"strconv"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Record writes the link's counters into our segment of the connection's path,
// under the names that the stock forwarder uses: client_rx_bytes and so on for
// the port towards the endpoint, server_rx_bytes for the one towards the client.
func Record(conn *networkservice.Connection, link *plane.Link) {
	segments := conn.GetPath().GetPathSegments()
	index := int(conn.GetPath().GetIndex())
	if index >= len(segments) {
		return
	}
	segment := segments[index]
	if segment.Metrics == nil {
		segment.Metrics = make(map[string]string, 12)
	}
	record(segment.Metrics, "server_", &link.Client)
	record(segment.Metrics, "client_", &link.Endpoint)
}

func record(to map[string]string, prefix string, p *plane.PortStatus) {
	for _, c := range []struct {
		name  string
		value uint64
	}{
		{"rx_bytes", p.Counters.RxBytes},
		{"tx_bytes", p.Counters.TxBytes},
		{"rx_packets", p.Counters.RxPackets},
		{"tx_packets", p.Counters.TxPackets},
		{"drops", p.Counters.Drops},
	} {
		to[prefix+c.name] = strconv.FormatUint(c.value, 10)
	}
	to[prefix+"interface"] = interfaceName(p.Port)
}

// interfaceName is TYPE/name, as the stock forwarder reports it.
func interfaceName(p plane.Port) string {
	switch p := p.(type) {
	case plane.Kernel:
		return fmt.Sprintf("%s/%s", p.Kind(), p.Name)
	case plane.VXLAN:
		return fmt.Sprintf("%s/%d", p.Kind(), p.VNI)
	case plane.Memif:
		if p.Name == "" {
			return fmt.Sprintf("%s/%s", p.Kind(), p.Socket)
		}
		return fmt.Sprintf("%s/%s", p.Kind(), p.Name)
	case plane.VLAN:
		return fmt.Sprintf("%s/%d", p.Kind(), p.ID)
	default:
		return string(p.Kind())
	}
}
