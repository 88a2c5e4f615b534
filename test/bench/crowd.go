// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/lab/requester"
)

// Sizes of a crowd: how many connections stand at the end, and how many of the
// first and of the last are looked at. The first few are left out: they find
// nothing warm.
const (
	crowdSize, quickCrowdSize = 1000, 100
	crowdSkip, crowdSample    = 5, 60
	crowdFrame                = 64 // bytes
)

const (
	crowdSetup = "two network namespaces as nodes, joined by a veth pair of MTU 1500; registry, nsmgr and our forwarder with the embedded plane on each; " +
		"%d connections from pods of ten interfaces on the first node to twelve endpoints, in turn local, through VXLAN and through WireGuard"
	crowdMethod = "connections requested one after the other by an SDK client chain in the benchmark's process; median of each kind among the last 60, " +
		"against that among the first 60 after the first five. Rates: median of %d searches, begun when the programs had become calm. "
)

// One search for a rate differs from the next by a tenth.
const crowdSearches = 5

// A mesh is calm when its programs together use less than calmUse of a core. After
// the last request that takes a few seconds: connections of gRPC that are not
// needed any more are closed, and memory is collected.
const (
	calmUse  = 6 // per cent
	calmWait = 30 * time.Second
)

// crowd are the rows about many connections that stand at the same time.
func (b *bench) crowd() (rows []*comparison) {
	few, many := b.measureCrowdOnce()
	add := func(c *comparison) {
		c.ours = many
		rows = append(rows, c)
	}
	for _, kind := range requester.Kinds {
		add(&comparison{
			name: fmt.Sprintf("request %s, the 1,000th, to the 10th", kind.Name), unit: "ms", of: kind.Name + " ms", peer: few, aim: atMost(1.5),
		})
	}
	for _, kind := range requester.Kinds {
		if kind.Remote {
			add(&comparison{
				name: fmt.Sprintf("UDP %s, 64 bytes, most, among 1,000, to alone", kind.Name), unit: "packets/s", of: kind.Name + " packets/s", peer: few, aim: ratio(0.9),
			})
		}
	}
	for _, program := range []string{"forwarder", "nsmgr"} {
		add(&comparison{name: "resident memory of a connection, " + program, unit: "kB", of: program + " kB"})
	}
	add(&comparison{name: "idle CPU of a forwarder with 1,000 connections", unit: "% of a core"})
	return rows
}

// measureCrowdOnce is measureCrowd for any number of rows: few is what there was
// with one connection of each kind, many with all.
func (b *bench) measureCrowdOnce() (few, many measurement) {
	both := sync.OnceValues(b.measureCrowd)
	pick := func(i int) measurement {
		return func() (Figure, error) {
			figures, err := both()
			return figures[i], err
		}
	}
	return pick(0), pick(1)
}

func (b *bench) measureCrowd() (figures [2]Figure, err error) {
	size := crowdSize
	if b.quick {
		size = quickCrowdSize
	}
	setup := fmt.Sprintf(crowdSetup, size)
	method := fmt.Sprintf(crowdMethod+generatorWords+searchWords, crowdSearches, crowdFrame, b.trial().Seconds())
	figures[0], figures[1] = Figure{Path: setup, Method: method}, Figure{Path: setup, Method: method}
	l, f, err := b.startCrowd()
	if err != nil {
		return figures, err
	}
	defer func() { err = errors.Join(err, endCrowd(l, f)) }()
	if err := b.grow(l, f, len(requester.Kinds)); err != nil {
		return figures, err
	}
	few, many := values{}, values{}
	if err := b.measureThrough(f, few); err != nil {
		return figures, err
	}
	before, err := memoryOf(l)
	if err != nil {
		return figures, err
	}
	if err := b.grow(l, f, size); err != nil {
		return figures, err
	}
	after, err := memoryOf(l)
	if err != nil {
		return figures, err
	}
	for name := range after {
		many[name+" kB"] = (after[name] - before[name]) / 1e3 / float64(size-len(requester.Kinds))
	}
	setupTimes(few, f.Standing[crowdSkip:crowdSkip+crowdSample])
	setupTimes(many, f.Standing[size-crowdSample:])
	if err := b.measureThrough(f, many); err != nil {
		return figures, err
	}
	used, err := idleTime(b.duration, l.Nodes[0].Forwarder.PID())
	many["% of a core"] = used
	for i, v := range []values{few, many} {
		figures[i].Values, figures[i].Load = v, loadAverage()
	}
	return figures, err
}

func (b *bench) startCrowd() (*lab.Lab, *requester.Fleet, error) {
	l, err := lab.New(lab.Config{Tag: "bench", Bin: b.bin, Planes: embeddedPlanes})
	if err != nil {
		return nil, nil, err
	}
	err = l.Start(b.ctx)
	if err == nil {
		var f *requester.Fleet
		if f, err = requester.NewFleet(b.ctx, l); err == nil {
			return l, f, nil
		}
	}
	return nil, nil, errors.Join(err, l.Close())
}

// endCrowd kills the programs: closing all connections first takes half a minute
// and says nothing.
func endCrowd(l *lab.Lab, f *requester.Fleet) error {
	for _, p := range slices.Backward(l.Processes()) {
		p.Kill()
	}
	return errors.Join(f.Close(), l.Close())
}

// setupTimes are the medians of the kinds.
func setupTimes(v values, standing []requester.Standing) {
	took := make(map[string][]time.Duration)
	for _, s := range standing {
		took[s.Kind.Name] = append(took[s.Kind.Name], s.Took)
	}
	for kind, samples := range took {
		v[kind+" ms"] = 1e3 * percentile(samples, 50)
	}
}

func memoryOf(l *lab.Lab) (values, error) {
	v := values{}
	for name, pid := range map[string]int{"forwarder": l.Nodes[0].Forwarder.PID(), "nsmgr": l.Nodes[0].NSMgr.PID()} {
		bytes, err := resident(pid)
		if err != nil {
			return nil, err
		}
		v[name] = bytes
	}
	return v, nil
}

// measureThrough searches for the rate of the first remote connection of each kind.
func (b *bench) measureThrough(f *requester.Fleet, v values) error {
	rates := make(map[string][]float64)
	for range crowdSearches {
		for i, kind := range requester.Kinds {
			if !kind.Remote {
				continue
			}
			rate, err := b.rateOf(&f.Standing[i])
			if err != nil {
				return err
			}
			rates[kind.Name] = append(rates[kind.Name], rate)
		}
	}
	for kind, found := range rates {
		slices.Sort(found)
		v[kind+" packets/s"] = found[len(found)/2]
	}
	return nil
}

func (b *bench) rateOf(s *requester.Standing) (float64, error) {
	client, server, err := requester.Addresses(s.Connection)
	if err != nil {
		return 0, err
	}
	p, err := newPath("", s.Pod.Path, client.String(), s.Endpoint.Pod.Path, server.String())
	if err != nil {
		return 0, err
	}
	rates, err := b.measureRates(p, crowdFrame)
	return rates["packets/s"], err
}

// grow has a number of connections stand, and returns when the mesh is calm.
func (b *bench) grow(l *lab.Lab, f *requester.Fleet, size int) error {
	if err := f.Grow(b.ctx, size, 1); err != nil {
		return err
	}
	return b.awaitCalm(l)
}

func (b *bench) awaitCalm(l *lab.Lab) error {
	var pids []int
	for _, p := range l.Processes() {
		pids = append(pids, p.PID())
	}
	for deadline := time.Now().Add(calmWait); ; {
		used, err := idleTime(time.Second, pids...)
		if err != nil {
			return err
		}
		if used < calmUse {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the programs still use %.0f %% of a core after %s without a request", used, calmWait)
		}
		if err := b.ctx.Err(); err != nil {
			return err
		}
	}
}

// idleTime is the CPU time that processes take while nothing happens, in per cent
// of a core.
func idleTime(d time.Duration, pids ...int) (float64, error) {
	before, err := processTimes(pids)
	if err != nil {
		return 0, err
	}
	time.Sleep(d)
	after, err := processTimes(pids)
	return 100 * (after - before) / d.Seconds(), err
}
