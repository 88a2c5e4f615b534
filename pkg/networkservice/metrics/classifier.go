// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nsm-afxdp/forwarder/pkg/classifier"
)

// classifierCollector exports the classifier's counters.
type classifierCollector struct {
	read           func() ([]classifier.Counter, error)
	packets, bytes *prometheus.Desc
}

// NewClassifierCollector reads the classifier's counters at each scrape.
func NewClassifierCollector(read func() ([]classifier.Counter, error)) prometheus.Collector {
	labels := []string{"verdict", "reason"}
	return &classifierCollector{
		read: read,
		packets: prometheus.NewDesc("nsm_classifier_packets_total",
			"Frames of the uplink by what the classifier did with them and why.", labels, nil),
		bytes: prometheus.NewDesc("nsm_classifier_bytes_total",
			"Bytes of the uplink's frames by what the classifier did with them and why.", labels, nil),
	}
}

// Describe sends the descriptions of both metrics.
func (c *classifierCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.packets
	ch <- c.bytes
}

// Collect sends all counters.
func (c *classifierCollector) Collect(ch chan<- prometheus.Metric) {
	counters, err := c.read()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.packets, err)
		return
	}
	for _, counter := range counters {
		labels := []string{string(counter.Verdict), counter.Reason}
		ch <- prometheus.MustNewConstMetric(c.packets, prometheus.CounterValue, float64(counter.Packets), labels...)
		ch <- prometheus.MustNewConstMetric(c.bytes, prometheus.CounterValue, float64(counter.Bytes), labels...)
	}
}
