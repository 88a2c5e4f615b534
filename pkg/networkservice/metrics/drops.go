// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// dropsCollector exports what the plane dropped.
type dropsCollector struct {
	read func() map[string]uint64
	desc *prometheus.Desc
}

// NewDropsCollector reads the plane's drops by reason at each scrape.
func NewDropsCollector(read func() map[string]uint64) prometheus.Collector {
	return &dropsCollector{read: read, desc: prometheus.NewDesc("nsm_plane_drops_total",
		"Packets that the forwarding plane dropped, by reason.", []string{"reason"}, nil)}
}

// Describe sends the metric's description.
func (c *dropsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect sends the drops for each reason that there was one for.
func (c *dropsCollector) Collect(ch chan<- prometheus.Metric) {
	for reason, packets := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(packets), reason)
	}
}
