// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"time"
)

// percentile is the smallest of the samples that p percent of them do not
// exceed (nearest rank), and NaN without samples.
func percentile(samples []time.Duration, p float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1].Seconds()
}

// trial is what came of offering packets for a while, in packets/s.
type trial struct{ offered, delivered float64 }

// loss is the part of the packets that did not arrive.
func (t trial) loss() float64 {
	if t.offered == 0 {
		return 1
	}
	return max(0, 1-t.delivered/t.offered)
}

// lossFree is the loss that the search for a loss-free rate puts up with.
const lossFree = 0.001

// searchRate offers packets at full speed first, and then looks for the highest
// rate at which less than lossFree is lost. It returns that rate, 0 if there
// was none, and the most that was delivered in any trial.
func searchRate(trials int, offer func(rate float64) (trial, error)) (ndr, most float64, err error) {
	try := func(rate float64) (trial, error) {
		t, err := offer(rate)
		most = max(most, t.delivered)
		if t.loss() < lossFree {
			ndr = max(ndr, t.delivered)
		}
		return t, err
	}
	flood, err := try(math.Inf(1))
	if err != nil {
		return 0, 0, err
	}
	if flood.loss() < lossFree {
		// The generator is the limit. See what it can do.
		for range trials / 2 {
			if _, err := try(math.Inf(1)); err != nil {
				return 0, 0, err
			}
		}
		return ndr, most, nil
	}
	low, high := 0.0, min(2*flood.delivered, flood.offered)
	rate := flood.delivered
	for range trials {
		t, err := try(rate)
		if err != nil {
			return 0, 0, err
		}
		if t.loss() < lossFree {
			low = rate
		} else {
			high = rate
		}
		rate = (low + high) / 2
	}
	return ndr, most, nil
}
