// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Collector exports the counters of all links to Prometheus, under the stock
// forwarder's names and labels. It is also the element that learns which
// connection belongs to which service and client.
type Collector struct {
	links func() []plane.Link
	names sync.Map // connection id -> owner

	metrics []metric
}

type owner struct{ service, client string }

type metric struct {
	desc  *prometheus.Desc
	value func(*plane.Link) uint64
}

// NewCollector reads the counters from links at each scrape. prefix may be
// empty (environment PROMETHEUS_METRICS_PREFIX).
func NewCollector(prefix string, links func() []plane.Link) *Collector {
	c := &Collector{links: links}
	for _, side := range []struct {
		name   string
		status func(*plane.Link) *plane.PortStatus
	}{
		{"server", func(l *plane.Link) *plane.PortStatus { return &l.Client }},
		{"client", func(l *plane.Link) *plane.PortStatus { return &l.Endpoint }},
	} {
		for _, counter := range []struct {
			name, help string
			value      func(*plane.Counters) uint64
		}{
			{"rx_bytes_total", "Bytes received from the port's peer.", func(c *plane.Counters) uint64 { return c.RxBytes }},
			{"tx_bytes_total", "Bytes sent to the port's peer.", func(c *plane.Counters) uint64 { return c.TxBytes }},
			{"rx_packets_total", "Packets received from the port's peer.", func(c *plane.Counters) uint64 { return c.RxPackets }},
			{"tx_packets_total", "Packets sent to the port's peer.", func(c *plane.Counters) uint64 { return c.TxPackets }},
			{"drops_total", "Packets of the port that went no further.", func(c *plane.Counters) uint64 { return c.Drops }},
		} {
			c.metrics = append(c.metrics, metric{
				desc: prometheus.NewDesc(
					prometheus.BuildFQName("", prefix, side.name+"_"+counter.name), counter.help,
					[]string{"connection_id", "network_service", "nsc", "nsc_interface", "nse_interface"}, nil),
				value: func(l *plane.Link) uint64 { return counter.value(&side.status(l).Counters) },
			})
		}
	}
	return c
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for i := range c.metrics {
		ch <- c.metrics[i].desc
	}
}

// Collect sends the counters of the links that exist.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	links := c.links()
	for i := range links {
		l := &links[i]
		var o owner
		if v, ok := c.names.Load(l.ID); ok {
			o = v.(owner)
		}
		for _, m := range c.metrics {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value(l)),
				l.ID, o.service, o.client, interfaceName(l.Client.Port), interfaceName(l.Endpoint.Port))
		}
	}
}

// Request notes whose connection it is.
func (c *Collector) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	o := owner{service: conn.GetNetworkService()}
	if segments := conn.GetPath().GetPathSegments(); len(segments) > 0 {
		o.client = segments[0].GetName()
	}
	c.names.Store(conn.GetId(), o)
	return conn, nil
}

// Close forgets whose connection it was.
func (c *Collector) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	c.names.Delete(conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}
