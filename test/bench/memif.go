// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"time"

	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/lab/requester"
	"github.com/nsm-afxdp/forwarder/internal/testpmd"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

const (
	memifSetup = "a node with registry, nsmgr and our forwarder with the embedded plane, pinned to CPU 1; client pod and endpoint pod on it, both with " +
		"memifs of one ring, payload ETHERNET; the forwarder carries the packets (NSM_DIRECT_MEMIF=false)"
	bareMemifSetup = "dpdk-testpmd (net_memif, --forward-mode=io, pinned to CPU 1) carries frames from one memif of one ring to another"
	memifMethod    = "frames of %d bytes; source and sink are one thread with pkg/memif, pinned to CPU 0: 64 frames out, and what has come in; the best of its slices of 50 ms"
)

// memif are the rows about carrying packets from one memif to another.
func (b *bench) memif() (rows []*comparison) {
	through := sync.OnceValues(func() (*memifPair, error) {
		p, stop, err := meshMemifs(b.ctx, b.bin)
		if err == nil {
			b.add(stop)
		}
		return p, err
	})
	for _, size := range []int{64, 1400} {
		c := &comparison{
			name: fmt.Sprintf("memif to memif, %d bytes, to testpmd", size), unit: "packets/s",
			ours: once(func() (Figure, error) {
				f := Figure{Path: memifSetup, Method: fmt.Sprintf(memifMethod, size)}
				p, err := through()
				if err == nil {
					f.Values, err = p.measure(b.ctx, size, b.duration)
				}
				return f, err
			}),
			peer: once(func() (Figure, error) {
				f := Figure{Path: bareMemifSetup, Method: fmt.Sprintf(memifMethod, size)}
				p, stop, err := b.testpmdMemifs()
				if err == nil {
					f.Values, err = p.measure(b.ctx, size, b.duration)
					err = errors.Join(err, stop())
				}
				return f, err
			}),
		}
		if size == 64 {
			c.aim = ratio(0.7)
		}
		rows = append(rows, c)
	}
	return rows
}

// memifPair is a memif to send packets into, and that which they come out of.
type memifPair struct{ source, sink *memif.Conn }

// join waits until both have their peers.
func join(ctx context.Context, source, sink *memif.Interface) (_ *memifPair, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p := &memifPair{}
	if p.source, err = source.Connect(ctx); err != nil {
		return nil, fmt.Errorf("connect the source: %w", err)
	}
	if p.sink, err = sink.Connect(ctx); err != nil {
		return nil, fmt.Errorf("connect the sink: %w", err)
	}
	return p, nil
}

// measure sends frames for a while, and returns the best rate and the median one
// of slices of time.
func (p *memifPair) measure(ctx context.Context, size int, d time.Duration) (values, error) {
	const slice = 50 * time.Millisecond
	var rates []float64
	err := pinned(0, func() error {
		out, in := make([]memif.Packet, batch), make([]memif.Packet, batch)
		for i := range out {
			out[i].Data = make([]byte, size)
			copy(out[i].Data, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}) // a local experimental EtherType
		}
		tx, rx := p.source.Tx()[0], p.sink.Rx()[0]
		count, start := 0, time.Now()
		for end := start.Add(d); ; {
			for range batch {
				tx.Send(out)
				for n := 1; n > 0; {
					n = rx.Receive(in)
					rx.Release()
					count += n
				}
			}
			now := time.Now()
			if elapsed := now.Sub(start); elapsed >= slice {
				rates = append(rates, float64(count)/elapsed.Seconds())
				count, start = 0, now
			}
			if now.After(end) || ctx.Err() != nil {
				return errors.Join(p.source.Err(), p.sink.Err())
			}
		}
	})
	if err != nil || len(rates) == 0 {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	slices.Sort(rates)
	return values{"packets/s": rates[len(rates)-1], "median packets/s": rates[len(rates)/2]}, nil
}

// pinned runs f on a thread of that CPU, which ends with it.
func pinned(cpu int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		var set unix.CPUSet
		set.Set(cpu)
		err := unix.SchedSetaffinity(0, &set)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// meshMemifs is a connection through a forwarder of its own.
func meshMemifs(ctx context.Context, bin string) (_ *memifPair, stop func() error, err error) {
	var undo closers
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.close())
		}
	}()
	l, err := lab.New(lab.Config{Tag: "bench", Bin: bin, Planes: embeddedPlanes})
	if err != nil {
		return nil, nil, err
	}
	undo.add(l.Close)
	n := l.Nodes[0]
	if err := errors.Join(l.StartRegistry(ctx), n.StartNSMgr(ctx), n.StartForwarder(ctx, map[string]string{"NSM_DIRECT_MEMIF": "false"})); err != nil {
		return nil, nil, err
	}
	nse, err := n.StartEndpoint(ctx, "nse-memif", lab.Service{Name: "memif", Payload: "ETHERNET", CIDR: "172.16.4.0/24"},
		map[string]string{"NSM_MECHANISM": "memif", "NSM_MEMIF_STACK": "false"})
	if err != nil {
		return nil, nil, err
	}
	r, err := requester.New(n, "memifs", l.MaxTokenLifetime)
	if err != nil {
		return nil, nil, err
	}
	undo.add(r.Close)
	pod, err := r.Pod("memifs")
	if err != nil {
		return nil, nil, err
	}
	conn, _, err := r.Request(ctx, pod.Memif("memifs-0", "memif", "nsm-1"))
	if err != nil {
		return nil, nil, err
	}
	listenAt := regexp.MustCompile(`memif socket (\S+) role master`).FindStringSubmatch(nse.Tail(20))
	if listenAt == nil {
		return nil, nil, fmt.Errorf("%s does not say where to listen:\n%s", nse.Name, nse.Tail(5))
	}
	source, err := memif.Slave(memif.Address{Socket: memifmech.ToMechanism(conn.GetMechanism()).GetSocketFilename(), NetNS: pod.Path}, memif.Config{})
	if err != nil {
		return nil, nil, err
	}
	undo.add(source.Close)
	listener, err := memif.Listen(memif.Address{Socket: listenAt[1], NetNS: nse.Pod.Path})
	if err != nil {
		return nil, nil, err
	}
	undo.add(listener.Close)
	sink, err := listener.Interface(memif.Config{})
	if err != nil {
		return nil, nil, err
	}
	p, err := join(ctx, source, sink)
	if err != nil {
		return nil, nil, err
	}
	s, err := n.Status(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(s.Links) != 1 || s.Links[0].Path != "embedded" {
		return nil, nil, fmt.Errorf("the forwarder does not carry the packets: links %+v", s.Links)
	}
	return p, undo.close, pinProcess(n.Forwarder.PID(), 1)
}

// pinProcess moves all threads of a process to a CPU, and those that they will make.
func pinProcess(pid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		var tid int
		if _, err := fmt.Sscan(filepath.Base(t), &tid); err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin process %d to CPU %d: %w", pid, cpu, err)
		}
	}
	return nil
}

// testpmdMemifs is testpmd between two memifs: the slave of the one, the master of
// the other, as our forwarder is the master of the client's and the slave of the
// endpoint's.
func (b *bench) testpmdMemifs() (_ *memifPair, stop func() error, err error) {
	if err := require("dpdk-testpmd"); err != nil {
		return nil, nil, err
	}
	peers, err := b.peers()
	if err != nil {
		return nil, nil, err
	}
	var undo closers
	defer func() {
		if err != nil {
			err = errors.Join(err, undo.close())
		}
	}()
	in, out := filepath.Join(peers.lab.Dir, "in.sock"), filepath.Join(peers.lab.Dir, "out.sock")
	listener, err := memif.Listen(memif.Address{Socket: out})
	if err != nil {
		return nil, nil, err
	}
	undo.add(listener.Close)
	sink, err := listener.Interface(memif.Config{})
	if err != nil {
		return nil, nil, err
	}
	var p *memifPair
	connect := func() error {
		source, err := memif.Slave(memif.Address{Socket: in}, memif.Config{})
		if err != nil {
			return err
		}
		undo.add(source.Close)
		p, err = join(b.ctx, source, sink)
		return err
	}
	stopTestpmd, err := startTestpmd(testpmd.Config{
		CPU: 1, Mode: "io", Options: []string{"--burst=64"},
		Devices: []string{testpmd.Memif(0, "server", in), testpmd.Memif(1, "client", out)},
	}, connect)
	if err != nil {
		return nil, nil, err
	}
	undo.add(func() error {
		stopTestpmd()
		return nil
	})
	return p, undo.close, nil
}
