// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/status"
)

// comparison is a row to be measured.
type comparison struct {
	name, unit string
	ours, peer measurement
	aim        *aim
	stock      string
	// of picks the row's value when it is not called like the unit.
	of string
}

// measurement finds values in a setup that it describes. It is made once,
// however many rows show something of it.
type measurement func() (Figure, error)

func (c *comparison) row() *Row {
	r := &Row{Name: c.name, Unit: c.unit, Stock: c.stock}
	r.Ours = c.figure(c.ours)
	if c.peer != nil {
		peer := c.figure(c.peer)
		r.Peer = &peer
	}
	r.judge(c.aim)
	return r
}

func (c *comparison) figure(m measurement) Figure {
	f, err := m()
	key := c.of
	if key == "" {
		key = c.unit
	}
	var reason absent
	var ok bool
	f.Value, ok = f.Values[key]
	switch {
	case errors.As(err, &reason):
		f.Skipped = string(reason)
	case err != nil:
		f.Failed = err.Error()
	case !ok:
		f.Failed = "no " + key + " was measured"
	}
	return f
}

// bench holds what the measurements share; each is set up when it is first needed.
type bench struct {
	closers
	ctx      context.Context
	bin      string
	duration time.Duration
	requests int
	quick    bool

	mesh      func() (*mesh, error)
	peers     func() (*peers, error)
	connector func() (*connector, error)
	// Ways from pod to pod.
	ourVXLAN, ourWireGuard, ourLocal    func() (*path, error)
	linuxVXLAN, wireguardGo, linuxLocal func() (*path, error)
}

func newBench(ctx context.Context, bin string, o *options) *bench {
	b := &bench{ctx: ctx, bin: bin, duration: time.Duration(o.seconds * float64(time.Second)), requests: 100, quick: o.quick}
	if o.quick {
		b.requests = 20
	}
	b.mesh = sync.OnceValues(func() (*mesh, error) {
		m, stop, err := startMesh(ctx, bin, "embedded")
		if err == nil {
			b.add(stop)
		}
		return m, err
	})
	b.peers = sync.OnceValues(func() (*peers, error) {
		p, stop, err := startPeers()
		if err == nil {
			b.add(stop)
		}
		return p, err
	})
	b.connector = sync.OnceValues(func() (*connector, error) {
		m, err := b.mesh()
		if err != nil {
			return nil, err
		}
		c, stop, err := newConnector(ctx, m)
		if err == nil {
			b.add(stop)
		}
		return c, err
	})
	b.ourVXLAN = ofMesh(b, func(m *mesh) *path { return m.vxlan })
	b.ourWireGuard = ofMesh(b, func(m *mesh) *path { return m.wireguard })
	b.ourLocal = ofMesh(b, func(m *mesh) *path { return m.local })
	b.linuxVXLAN = ofPeers(b, func(p *peers) (*path, error) { return p.vxlan(ctx) })
	b.linuxLocal = ofPeers(b, func(p *peers) (*path, error) { return p.veth(ctx) })
	b.wireguardGo = ofPeers(b, func(p *peers) (*path, error) {
		path, stop, err := p.wireguard(ctx)
		if err == nil {
			b.add(stop)
		}
		return path, err
	})
	return b
}

func ofMesh(b *bench, pick func(*mesh) *path) func() (*path, error) {
	return func() (*path, error) {
		m, err := b.mesh()
		if err != nil {
			return nil, err
		}
		return pick(m), nil
	}
}

func ofPeers(b *bench, build func(*peers) (*path, error)) func() (*path, error) {
	return sync.OnceValues(func() (*path, error) {
		p, err := b.peers()
		if err != nil {
			return nil, err
		}
		return build(p)
	})
}

// comparisons are all rows, in their order.
func (b *bench) comparisons() []*comparison {
	kinds := []struct {
		name       string
		ours, peer func() (*path, error)
		peerName   string
		tcpStock   string
		tcpAim     *aim
	}{
		{"VXLAN", b.ourVXLAN, b.linuxVXLAN, "Linux", "1.18", atLeast(2.95)},
		{"WireGuard", b.ourWireGuard, b.wireguardGo, "wireguard-go", "0.81", atLeast(1.62)},
		{"local", b.ourLocal, b.linuxLocal, "bare veth", "7.2", ratio(0.95)},
	}
	var rows []*comparison
	add := func(c *comparison) { rows = append(rows, c) }
	for _, k := range kinds {
		for _, streams := range []int{1, 4} {
			c := &comparison{
				name: fmt.Sprintf("TCP %s, streams %d, to %s", k.name, streams, k.peerName), unit: "Gbit/s",
				ours: b.tcp(k.ours, streams), peer: b.tcp(k.peer, streams),
			}
			if streams == 1 {
				c.aim, c.stock = k.tcpAim, k.tcpStock
			}
			add(c)
		}
	}
	for _, size := range []int{64, 1400} {
		for _, k := range kinds {
			ours, peer := b.rates(k.ours, size), b.rates(k.peer, size)
			name := fmt.Sprintf("UDP %s, %d bytes", k.name, size)
			add(&comparison{name: name + ", most, to " + k.peerName, unit: "packets/s", ours: ours, peer: peer})
			add(&comparison{name: name + ", loss-free, to " + k.peerName, unit: "packets/s", of: "loss-free packets/s", ours: ours, peer: peer})
			if k.name == "VXLAN" {
				testpmd, sameGenerator := b.testpmd(size, false), b.testpmd(size, true)
				out, in := b.podToWire(size), b.wireToPod(size)
				var a *aim
				if size == 64 {
					a = ratio(0.8)
				}
				add(&comparison{name: name + ", two forwarders, to one testpmd", unit: "packets/s", ours: ours, peer: testpmd, aim: a})
				add(&comparison{name: name + ", pod to wire, to testpmd", unit: "packets/s", ours: out, peer: testpmd, aim: a})
				add(&comparison{name: name + ", wire to pod, to testpmd", unit: "packets/s", ours: in, peer: testpmd, aim: a})
				add(&comparison{name: name + ", pod to wire, to testpmd, our generator", unit: "packets/s", ours: out, peer: sameGenerator, aim: a})
				add(&comparison{name: name + ", wire to pod, to testpmd, our generator", unit: "packets/s", ours: in, peer: sameGenerator, aim: a})
			}
		}
	}
	for _, k := range kinds {
		for _, pace := range []struct {
			name  string
			pause time.Duration
		}{{"1 per ms", time.Millisecond}, {"back to back", 0}} {
			ours, peer := b.latency(k.ours, pace.pause), b.latency(k.peer, pace.pause)
			for _, p := range []string{"p50", "p99"} {
				add(&comparison{
					name: fmt.Sprintf("round trip %s, %s, %s, to %s", k.name, pace.name, p, k.peerName),
					unit: "µs", of: p + " µs", ours: ours, peer: peer,
				})
			}
		}
	}
	for _, k := range kinds {
		ours, peer := b.cost(k.ours), b.cost(k.peer)
		for _, of := range []string{"all", "processes"} {
			add(&comparison{
				name: fmt.Sprintf("CPU of a packet %s, %s, to %s", k.name, of, k.peerName),
				unit: "µs/packet", of: of + " µs/packet", ours: ours, peer: peer,
			})
		}
	}
	rows = append(rows, b.footprint()...)
	rows = append(rows, b.memif()...)
	rows = append(rows, b.netstack()...)
	rows = append(rows, b.kernelPlane()...)
	rows = append(rows, b.connections()...)
	return append(rows, b.crowd()...)
}

// connections are the rows about the control plane.
func (b *bench) connections() (rows []*comparison) {
	for _, c := range []struct {
		name, service, stock string
		aim                  *aim
	}{
		{"local", "setup-local", "166", below(30)},
		{"VXLAN", "setup-vxlan", "200", below(50)},
		{"WireGuard", "setup-wireguard", "285", below(50)},
	} {
		m := b.connect(c.service)
		for _, step := range []string{"request", "refresh", "close"} {
			for _, p := range []string{"p50", "p99"} {
				row := &comparison{name: fmt.Sprintf("connection %s, %s, %s", c.name, step, p), unit: "ms", of: step + " " + p + " ms", ours: m}
				if p == "p50" {
					switch step {
					case "request":
						row.aim, row.stock = c.aim, c.stock
					case "refresh":
						row.stock = "43 to 86"
					}
				}
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// footprint are the rows about what the programs take when nothing happens.
func (b *bench) footprint() []*comparison {
	memory, idle := b.memory(), b.idle()
	rows := []*comparison{{name: "idle CPU of a forwarder", unit: "% of a core", ours: idle, aim: below(1)}}
	for _, program := range []string{"forwarder", "nsmgr", "registry", "nsc", "nse"} {
		c := &comparison{name: "resident memory of " + program, unit: "MB", of: program + " MB", ours: memory}
		if program == "forwarder" {
			c.aim, c.stock = below(90), "270 to 310"
		}
		rows = append(rows, c)
	}
	return rows
}

// once makes a measurement that is made at most once, and notes the load of the
// machine with it.
func once(m measurement) measurement {
	return sync.OnceValues(func() (Figure, error) {
		f, err := m()
		f.Load = loadAverage()
		return f, err
	})
}

// on measures something on a path.
func (b *bench) on(get func() (*path, error), method string, m func(*path) (values, error)) measurement {
	return once(func() (Figure, error) {
		f := Figure{Method: method}
		if err := b.ctx.Err(); err != nil {
			return f, err
		}
		p, err := get()
		if err != nil {
			return f, err
		}
		f.Path = p.setup
		f.Values, err = m(p)
		return f, err
	})
}

func (b *bench) tcp(get func() (*path, error), streams int) measurement {
	return b.on(get, fmt.Sprintf("iperf3, streams: %d, %.0f s after one second that is left out, congestion control %s", streams, b.duration.Seconds(), congestionControl()),
		func(p *path) (values, error) { return measureTCP(b.ctx, p, streams, b.duration) })
}

// generatorWords say how packets are made and counted.
const generatorWords = "UDP datagrams in Ethernet frames of %d bytes, one flow, from an AF_PACKET socket past the queueing discipline, 64 a system call; " +
	"counted at the socket in the receiving pod, which nobody reads. "

const searchWords = "most: the highest rate delivered at any offered rate; loss-free: the highest rate with less than 0.1 %% loss; trials of %.1f s"

func (b *bench) rates(get func() (*path, error), size int) measurement {
	return b.on(get, fmt.Sprintf(generatorWords+"Generator on any CPU; "+searchWords, size, b.trial().Seconds()), func(p *path) (values, error) { return b.measureRates(p, size) })
}

func (b *bench) measureRates(p *path, size int) (values, error) {
	f, stop, err := podToPod(p, size)
	if err != nil {
		return nil, err
	}
	defer stop()
	return f.measureRates(b.ctx, b.trial())
}

// trial is how long packets are offered at one rate.
func (b *bench) trial() time.Duration { return min(b.duration/4, 500*time.Millisecond) }

func (b *bench) testpmd(size int, ours bool) measurement {
	method := "generator: a second testpmd (--forward-mode=txonly); the best quarter of a second"
	if ours {
		method = "generator: AF_PACKET socket past the queueing discipline, 64 frames a system call; the highest rate delivered at any offered rate"
	}
	return once(func() (Figure, error) {
		f := Figure{Path: bareSetup, Method: fmt.Sprintf("frames of %d bytes; %s", size, method)}
		p, err := b.peers()
		if err != nil {
			return f, err
		}
		f.Values, err = p.measureTestpmd(b.ctx, size, b.trial(), ours)
		return f, err
	})
}

func (b *bench) podToWire(size int) measurement {
	return b.on(b.ourVXLAN, fmt.Sprintf("One forwarder: "+generatorWords+"Counted at the far node's uplink instead, whose forwarder is stopped. Generator pinned to CPU 0; "+
		searchWords, size, b.trial().Seconds()), func(*path) (values, error) {
		m, err := b.mesh()
		if err != nil {
			return nil, err
		}
		f, stop, err := podToWire(m, size)
		if err != nil {
			return nil, err
		}
		defer stop()
		return f.measureRates(b.ctx, b.trial())
	})
}

func (b *bench) wireToPod(size int) measurement {
	return b.on(b.ourVXLAN, fmt.Sprintf("One forwarder: "+generatorWords+"Sent as VXLAN frames out of the far node's uplink, past its forwarder, to the client's pod. Generator pinned to CPU 0; "+
		searchWords, size, b.trial().Seconds()), func(*path) (values, error) {
		m, err := b.mesh()
		if err != nil {
			return nil, err
		}
		vni, err := b.vni(m)
		if err != nil {
			return nil, err
		}
		f, stop, err := wireToPod(m, vni, size)
		if err != nil {
			return nil, err
		}
		defer stop()
		return f.measureRates(b.ctx, b.trial())
	})
}

// vni of the VXLAN connection.
func (b *bench) vni(m *mesh) (vni uint32, err error) {
	s, err := status.Ask(b.ctx, m.lab.Nodes[0].StatusSocket())
	if err != nil {
		return 0, err
	}
	for _, l := range s.Links {
		for _, p := range []status.Port{l.Client, l.Endpoint} {
			if _, err := fmt.Sscanf(p.Description, "vxlan %d to", &vni); err == nil {
				return vni, nil
			}
		}
	}
	return 0, errors.New("the forwarder has no VXLAN port")
}

func (b *bench) latency(get func() (*path, error), pause time.Duration) measurement {
	words := "UDP datagrams in frames of 64 bytes to and fro, "
	if pause > 0 {
		words += fmt.Sprintf("%s of sleep between two rounds", pause)
	} else {
		words += "the next as soon as one is back"
	}
	return b.on(get, words, func(p *path) (values, error) { return measureLatency(b.ctx, p, pause, b.duration/2) })
}

func (b *bench) cost(get func() (*path, error)) measurement {
	return b.on(get, fmt.Sprintf(generatorWords+"Offered at %d packets/s. processes: time of the processes that carry packets; "+
		"all: with the generator, in whose context Linux carries packets, and ksoftirqd", 64, steadyRate), func(p *path) (values, error) {
		f, stop, err := podToPod(p, 64)
		if err != nil {
			return nil, err
		}
		defer stop()
		return f.measureCost(b.ctx, b.duration/2, p.pids)
	})
}

func (b *bench) idle() measurement {
	d := 2 * b.duration
	return b.on(b.ourVXLAN, fmt.Sprintf("The forwarder of the client's node over %.0f s, with three connections that carry nothing", d.Seconds()),
		func(p *path) (values, error) {
			used, err := idleTime(d, p.pids[0])
			return values{"% of a core": used}, err
		})
}

func (b *bench) memory() measurement {
	return b.on(b.ourVXLAN, "VmRSS of processes on the client's node (nse: endpoint's node) after what was measured before", func(*path) (values, error) {
		m, err := b.mesh()
		if err != nil {
			return nil, err
		}
		v := values{}
		for name, pid := range map[string]int{
			"forwarder": m.lab.Nodes[0].Forwarder.PID(), "nsmgr": m.lab.Nodes[0].NSMgr.PID(), "registry": m.lab.Registry.PID(),
			"nsc": m.nsc.PID(), "nse": m.nse.PID(),
		} {
			bytes, err := resident(pid)
			if err != nil {
				return nil, err
			}
			v[name+" MB"] = bytes / 1e6
		}
		return v, nil
	})
}

func (b *bench) connect(service string) measurement {
	return b.on(b.ourVXLAN, fmt.Sprintf("Control plane: %d connections to %s one after the other, each requested, refreshed once and closed, "+
		"by an SDK client chain in the benchmark's process (monitors for healing as nsc has)", b.requests, service), func(*path) (values, error) {
		m, err := b.mesh()
		if err != nil {
			return nil, err
		}
		if err := m.startSetupEndpoint(b.ctx, service); err != nil {
			return nil, err
		}
		c, err := b.connector()
		if err != nil {
			return nil, err
		}
		return c.measure(b.ctx, service, b.requests)
	})
}
