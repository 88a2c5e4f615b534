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
)

const (
	crowdSetup = "two network namespaces as nodes, joined by a veth pair of MTU 1500; registry, nsmgr and our forwarder with the embedded plane on each; " +
		"%d connections from pods of ten interfaces on the first node to twelve endpoints, in turn local, through VXLAN and through WireGuard"
	crowdMethod = "connections requested one after the other by an SDK client chain in the benchmark's process; median of each kind among the last 60, " +
		"against that among the first 60 after the first five"
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
	figures[0], figures[1] = Figure{Path: setup, Method: crowdMethod}, Figure{Path: setup, Method: crowdMethod}
	l, f, err := b.startCrowd()
	if err != nil {
		return figures, err
	}
	defer func() { err = errors.Join(err, endCrowd(l, f)) }()
	if err := f.Grow(b.ctx, len(requester.Kinds), 1); err != nil {
		return figures, err
	}
	few, many := values{}, values{}
	if err := b.measureThrough(l, f, few); err != nil {
		return figures, err
	}
	before, err := memoryOf(l)
	if err != nil {
		return figures, err
	}
	if err := f.Grow(b.ctx, size, 1); err != nil {
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
	if err := b.measureThrough(l, f, many); err != nil {
		return figures, err
	}
	used, err := idleTime(l.Nodes[0].Forwarder.PID(), b.duration)
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
func (b *bench) measureThrough(l *lab.Lab, f *requester.Fleet, v values) error {
	for i, kind := range requester.Kinds {
		if !kind.Remote {
			continue
		}
		s := &f.Standing[i]
		client, server, err := requester.Addresses(s.Connection)
		if err != nil {
			return err
		}
		p, err := newPath("", s.Pod.Path, client.String(), s.Endpoint.Pod.Path, server.String(), l.Nodes[0].Forwarder.PID(), l.Nodes[1].Forwarder.PID())
		if err != nil {
			return err
		}
		rates, err := b.measureRates(p, 64)
		if err != nil {
			return err
		}
		v[kind.Name+" packets/s"] = rates["packets/s"]
	}
	return nil
}

// idleTime is the CPU time that a process takes while nothing happens, in per cent
// of a core.
func idleTime(pid int, d time.Duration) (float64, error) {
	before, err := processTime(pid)
	if err != nil {
		return 0, err
	}
	time.Sleep(d)
	after, err := processTime(pid)
	return 100 * (after - before).Seconds() / d.Seconds(), err
}
