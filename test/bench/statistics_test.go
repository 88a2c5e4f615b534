// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100-i) * time.Millisecond
	}
	for name, c := range map[string]struct {
		samples []time.Duration
		p, want float64
	}{
		"median of one":            {hundred[:1], 50, 0.1},
		"median of an even number": {hundred, 50, 0.05},
		"99th of 100":              {hundred, 99, 0.099},
		"99th of few is the worst": {hundred[:10], 99, 0.1},
		"the least":                {hundred, 0, 0.001},
	} {
		if got := percentile(c.samples, c.p); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("percentile of nothing is %v", got)
	}
}

// device delivers up to its capacity; above, it delivers less than that, as
// does a machine whose generator takes the time away.
type device struct{ generator, capacity, overloaded float64 }

func (d device) offer(rate float64) (trial, error) {
	rate = min(rate, d.generator)
	if rate <= d.capacity {
		return trial{rate, rate}, nil
	}
	return trial{rate, d.overloaded}, nil
}

func TestSearchRate(t *testing.T) {
	for name, c := range map[string]struct {
		device
		want float64
	}{
		"the generator is the limit":             {device{1e6, 2e6, 0}, 1e6},
		"the device is the limit":                {device{2e6, 1e6, 1e6}, 1e6},
		"the device collapses under overload":    {device{2e6, 1e6, 0.8e6}, 1e6},
		"the device lives far below the flood":   {device{2e6, 0.1e6, 0.09e6}, 0.1e6},
		"the device stays far above the flood's": {device{2e6, 0.9e6, 0.5e6}, 0.9e6},
	} {
		ndr, most, err := searchRate(8, c.offer)
		if err != nil || math.Abs(ndr-c.want) > 0.02*c.want || math.Abs(most-c.want) > 0.02*c.want {
			t.Errorf("%s: loss-free %.0f, most %.0f, %v; want %.0f", name, ndr, most, err, c.want)
		}
	}
	if ndr, most, _ := searchRate(8, func(rate float64) (trial, error) {
		return trial{min(rate, 1e6), min(rate, 1e6) / 2}, nil
	}); ndr != 0 || most != 0.5e6 {
		t.Errorf("a device that always loses half has loss-free rate %.0f, most %.0f", ndr, most)
	}
}
