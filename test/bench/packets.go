// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// searchTrials follow the flood in a search for the loss-free rate.
const searchTrials = 7

// flow sends packets over some path, and counts what comes out of it.
type flow struct {
	*generator
	cpu     int
	arrived func() (uint64, error)
}

// measureRates searches for the rates that a path can do.
func (f *flow) measureRates(ctx context.Context, d time.Duration) (values, error) {
	ndr, most, err := searchRate(searchTrials, func(rate float64) (trial, error) {
		t, err := f.try(rate, d)
		if err == nil {
			err = ctx.Err()
		}
		return t, err
	})
	return values{"packets/s": most, "loss-free packets/s": ndr}, err
}

// try offers packets for a while.
func (f *flow) try(rate float64, d time.Duration) (trial, error) {
	before, err := f.arrived()
	if err != nil {
		return trial{}, err
	}
	started := time.Now()
	offered, err := f.run(rate, d, f.cpu)
	if err != nil {
		return trial{}, err
	}
	elapsed := time.Since(started).Seconds()
	after, err := settled(f.arrived)
	return trial{float64(offered) / elapsed, float64(after-before) / elapsed}, err
}

// settled reads a counter when it has stopped counting.
func settled(count func() (uint64, error)) (uint64, error) {
	last, err := count()
	for deadline := time.Now().Add(time.Second); err == nil && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
		var next uint64
		if next, err = count(); next-last < 10 {
			return next, err
		}
		last = next
	}
	return last, err
}

// podToPod is a flow of UDP from the client pod to the server pod in Ethernet
// frames of size bytes. A socket takes it that nobody reads, so that receiving
// costs little: what counts is that the datagram came to the pod's socket.
func podToPod(p *path, size int) (_ *flow, stop func(), err error) {
	sink, err := openSink(&p.server)
	if err != nil {
		return nil, nil, err
	}
	g, err := newGenerator(&p.client, p.server.mac, udpPacket(p.client.addr, p.server.addr, sinkPort, make([]byte, size-headers)))
	if err != nil {
		_ = unix.Close(sink)
		return nil, nil, err
	}
	stop = func() {
		g.close()
		_ = unix.Close(sink)
	}
	return &flow{generator: g, cpu: -1, arrived: p.server.datagrams}, stop, nil
}

func openSink(e *end) (fd int, err error) {
	fd, err = e.udp(sinkPort, netip.AddrPort{})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	}
	return fd, err
}

// datagrams is how many have come to the sockets of the end's namespace,
// including those that found the socket full.
func (e *end) datagrams() (n uint64, err error) {
	err = netns.Do(e.ns, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var received, noPorts, failed uint64
		_, values, _ := strings.Cut(string(text), "\nUdp: InDatagrams")
		_, values, _ = strings.Cut(values, "\nUdp: ")
		if _, err := fmt.Sscan(values, &received, &noPorts, &failed); err != nil {
			return fmt.Errorf("read /proc/net/snmp: %w", err)
		}
		n = received + failed
		return nil
	})
	return n, err
}

// steadyRate is offered to every path when the cost of a packet is measured.
const steadyRate = 100_000

// measureCost offers packets at the same moderate rate to every path, and
// returns the CPU time that each of those that arrived has cost: of the path's
// processes, and of these with the generator and the kernel's threads for
// softirqs. Where others use the machine as well, that leaves them out.
func (f *flow) measureCost(ctx context.Context, d time.Duration, pids []int) (values, error) {
	kernel, err := pidsOf("ksoftirqd/")
	if err != nil {
		return nil, err
	}
	all := slices.Concat(pids, kernel, []int{os.Getpid()})
	var cost, costAll, arrived counter
	cost.read = func() (float64, error) { return processTimes(pids) }
	costAll.read = func() (float64, error) { return processTimes(all) }
	arrived.read = func() (float64, error) {
		n, err := f.arrived()
		return float64(n), err
	}
	counters := []*counter{&cost, &costAll, &arrived}
	for _, c := range counters {
		if err := c.start(); err != nil {
			return nil, err
		}
	}
	t, err := f.try(steadyRate, d)
	if err != nil {
		return nil, err
	}
	for _, c := range counters {
		if err := c.stop(); err != nil {
			return nil, err
		}
	}
	if arrived.grown == 0 {
		return nil, errors.New("no packet arrived")
	}
	return values{
		"processes µs/packet": 1e6 * cost.grown / arrived.grown,
		"all µs/packet":       1e6 * costAll.grown / arrived.grown,
		"loss":                t.loss(),
	}, ctx.Err()
}

// counter is read before and after something.
type counter struct {
	read          func() (float64, error)
	before, grown float64
}

func (c *counter) start() (err error) {
	c.before, err = c.read()
	return err
}

func (c *counter) stop() error {
	after, err := c.read()
	c.grown = after - c.before
	return err
}
