// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/metrics"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

var links = []plane.Link{{
	ID:     "c1",
	Client: plane.PortStatus{Port: plane.Kernel{Name: "nsm-1"}, Counters: plane.Counters{RxPackets: 1, RxBytes: 2, TxPackets: 3, TxBytes: 4, Drops: 5}},
	Endpoint: plane.PortStatus{
		Port: plane.VXLAN{VNI: 7}, Counters: plane.Counters{RxPackets: 11, RxBytes: 12, TxPackets: 13, TxBytes: 14, Drops: 15},
	},
}}

// scrape returns the values by the text of name and labels, as Prometheus
// stores them.
func scrape(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			values[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue()
		}
	}
	return values
}

func TestLinksAreExportedUnderTheStockNames(t *testing.T) {
	c := metrics.NewCollector("", func() []plane.Link { return links })
	server := chain.NewNetworkServiceServer(c)
	conn := &networkservice.Connection{Id: "c1", NetworkService: "a-service", Path: &networkservice.Path{
		Index: 1, PathSegments: []*networkservice.PathSegment{{Name: "a-client", Id: "c0"}, {Name: "forwarder", Id: "c1"}},
	}}
	_, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn})
	require.NoError(t, err)

	const labels = "{connection_id=c1,network_service=a-service,nsc=a-client,nsc_interface=KERNEL/nsm-1,nse_interface=VXLAN/7}"
	require.Equal(t, map[string]float64{
		"server_rx_packets_total" + labels: 1, "server_rx_bytes_total" + labels: 2,
		"server_tx_packets_total" + labels: 3, "server_tx_bytes_total" + labels: 4, "server_drops_total" + labels: 5,
		"client_rx_packets_total" + labels: 11, "client_rx_bytes_total" + labels: 12,
		"client_tx_packets_total" + labels: 13, "client_tx_bytes_total" + labels: 14, "client_drops_total" + labels: 15,
	}, scrape(t, c))

	_, err = server.Close(context.Background(), conn)
	require.NoError(t, err)
	for name := range scrape(t, c) {
		require.NotContains(t, name, "a-client", "whose connection it was is forgotten")
	}
}

func TestEachKindOfPortIsNamed(t *testing.T) {
	for want, port := range map[string]plane.Port{
		"KERNEL/nsm-1": plane.Kernel{Name: "nsm-1"},
		"MEMIF/nsm-1":  plane.Memif{Name: "nsm-1", Socket: "@memif"},
		"MEMIF/@memif": plane.Memif{Socket: "@memif"},
		"VXLAN/7":      plane.VXLAN{VNI: 7},
		"VLAN/100":     plane.VLAN{ID: 100},
		"WIREGUARD":    plane.WireGuard{},
	} {
		conn := &networkservice.Connection{Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Id: "c0"}}}}
		metrics.Record(conn, &plane.Link{Client: plane.PortStatus{Port: port}, Endpoint: plane.PortStatus{Port: plane.Kernel{}}})
		require.Equal(t, want, conn.GetPath().GetPathSegments()[0].GetMetrics()["server_interface"])
	}
}

func TestThePrefixGoesInFront(t *testing.T) {
	c := metrics.NewCollector("nsm", func() []plane.Link { return links })
	for name := range scrape(t, c) {
		require.True(t, strings.HasPrefix(name, "nsm_"), name)
	}
}

func TestTheClassifierIsExported(t *testing.T) {
	c := metrics.NewClassifierCollector(func() ([]classifier.Counter, error) {
		return []classifier.Counter{{Verdict: "redirect", Reason: "pinhole", Packets: 3, Bytes: 300}}, nil
	})
	require.Equal(t, map[string]float64{
		"nsm_classifier_packets_total{reason=pinhole,verdict=redirect}": 3,
		"nsm_classifier_bytes_total{reason=pinhole,verdict=redirect}":   300,
	}, scrape(t, c))
}

func TestAFailureToReadIsTold(t *testing.T) {
	c := metrics.NewClassifierCollector(func() ([]classifier.Counter, error) { return nil, errors.New("map is gone") })
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	_, err := registry.Gather()
	require.ErrorContains(t, err, "map is gone")
}

func TestThePathCarriesTheCounters(t *testing.T) {
	conn := &networkservice.Connection{Path: &networkservice.Path{
		Index: 1, PathSegments: []*networkservice.PathSegment{{Id: "c0"}, {Id: "c1"}},
	}}
	metrics.Record(conn, &links[0])
	require.Empty(t, conn.GetPath().GetPathSegments()[0].GetMetrics(), "others' segments are theirs")
	require.Equal(t, map[string]string{
		"server_rx_packets": "1", "server_rx_bytes": "2", "server_tx_packets": "3", "server_tx_bytes": "4", "server_drops": "5",
		"server_interface":  "KERNEL/nsm-1",
		"client_rx_packets": "11", "client_rx_bytes": "12", "client_tx_packets": "13", "client_tx_bytes": "14", "client_drops": "15",
		"client_interface": "VXLAN/7",
	}, conn.GetPath().GetPathSegments()[1].GetMetrics())
	metrics.Record(&networkservice.Connection{}, &links[0]) // a connection without a path is no reason to fall
}
