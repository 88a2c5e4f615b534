// SPDX-License-Identifier: Apache-2.0

// Package demo shows the forwarder at its main job: two nodes, a client on one
// and an endpoint on the other, linked over AF_XDP, while the nodes' own
// traffic stays with Linux.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/status"
)

// Options of the demo.
type Options struct {
	// Bin is the folder of the programs.
	Bin string
	// Out is where progress goes.
	Out io.Writer
	// Keep leaves everything up until ctx ends.
	Keep bool
	// LogLevel of the programs.
	LogLevel string
}

// useCase is a client and an endpoint on different nodes.
type useCase struct {
	service  lab.Service
	client   netip.Addr
	endpoint netip.Addr
	// tunnel that carries it, as the status names the port's kind.
	tunnel string
}

var useCases = []useCase{
	{
		service:  lab.Service{Name: "kernel2ethernet2kernel", Payload: "ETHERNET", CIDR: "172.16.1.100/31"},
		client:   netip.MustParseAddr("172.16.1.101"),
		endpoint: netip.MustParseAddr("172.16.1.100"),
		tunnel:   "VXLAN",
	},
	{
		service:  lab.Service{Name: "kernel2ip2kernel", Payload: "IP", CIDR: "172.16.1.100/31"},
		client:   netip.MustParseAddr("172.16.1.101"),
		endpoint: netip.MustParseAddr("172.16.1.100"),
		tunnel:   "WIREGUARD",
	},
}

// linked is a use case that runs.
type linked struct {
	useCase
	nsc *lab.Client
	nse *lab.Endpoint
}

// Run shows it all and cleans up, whatever happens. It returns nil only if
// every ping and check passed.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o, started: time.Now()}
	defer func() {
		if err != nil && ctx.Err() == nil {
			d.explain()
		}
		if d.lab != nil {
			step := d.step("clean up")
			err = errors.Join(err, step.end(d.lab.Close()))
		}
		if err == nil {
			_, _ = fmt.Fprintf(o.Out, "\nEvery ping and check passed, in %.1f s.\n", time.Since(d.started).Seconds())
		}
	}()
	return d.run(ctx)
}

type demo struct {
	Options
	lab     *lab.Lab
	links   []*linked
	started time.Time
}

func (d *demo) run(ctx context.Context) error {
	step := d.step("make two nodes and a link between them")
	var err error
	d.lab, err = lab.New(lab.Config{Tag: "demo", Bin: d.Bin, LogLevel: d.LogLevel})
	if err := step.end(err); err != nil {
		return err
	}
	step = d.step("start the registry, two nsmgrs and two forwarders")
	if err := step.end(d.lab.Start(ctx)); err != nil {
		return err
	}
	step = d.step("open a TCP session between the nodes, outside the mesh")
	session, err := startHeartbeat(ctx, d.lab.Nodes[0], d.lab.Nodes[1])
	if err := step.end(err); err != nil {
		return err
	}
	for _, u := range useCases {
		if err := d.link(ctx, u); err != nil {
			_, _, _ = session.stop()
			return err
		}
	}
	if err := d.ping(ctx); err != nil {
		_, _, _ = session.stop()
		return err
	}
	step = d.step("the session between the nodes kept flowing")
	beats, longest, err := session.stop()
	if err == nil && beats == 0 {
		err = errors.New("no beat was answered")
	}
	if err := step.end(err); err != nil {
		return err
	}
	d.note("%d lines answered, the slowest after %.1f ms", beats, float64(longest.Microseconds())/1000)

	statuses, err := d.statuses(ctx)
	if err != nil {
		return err
	}
	step = d.step("the tunnels' frames took the AF_XDP sockets")
	if err := step.end(d.checkCounters(statuses)); err != nil {
		return err
	}
	d.show(statuses)
	if d.Keep {
		d.keep(ctx)
	}
	return nil
}

// link starts an endpoint on the second node and a client on the first.
func (d *demo) link(ctx context.Context, u useCase) error {
	name := u.service.Name
	step := d.step(fmt.Sprintf("link a client to %s (payload %s, %s)", name, u.service.Payload, u.tunnel))
	nse, err := d.lab.Nodes[1].StartEndpoint(ctx, "nse-"+name, u.service, nil)
	if err != nil {
		return step.end(err)
	}
	nsc, err := d.lab.Nodes[0].StartClient("nsc-"+name, "kernel://"+name+"/nsm-1", nil)
	if err != nil {
		return step.end(err)
	}
	d.links = append(d.links, &linked{useCase: u, nsc: nsc, nse: nse})
	return step.end(nsc.AwaitConnected(ctx))
}

const pings = 10

func (d *demo) ping(ctx context.Context) error {
	for _, l := range d.links {
		for _, way := range []struct {
			from *lab.Namespace
			to   netip.Addr
			what string
		}{
			{l.nsc.Pod, l.endpoint, "client to endpoint"},
			{l.nse.Pod, l.client, "endpoint to client"},
		} {
			step := d.step(fmt.Sprintf("ping %s, %s", l.service.Name, way.what))
			out, err := lab.Ping(ctx, way.from, way.to, pings)
			if err == nil && !strings.Contains(out, " 0% packet loss") {
				err = fmt.Errorf("pings were lost:\n%s", out)
			}
			if err := step.end(err); err != nil {
				return err
			}
			d.note("%s", summary(out))
		}
	}
	return nil
}

// summary is the last two lines of ping(8), in one.
func summary(out string) string {
	var parts []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "packet loss") || strings.HasPrefix(line, "rtt ") {
			parts = append(parts, strings.TrimSpace(line))
		}
	}
	return strings.Join(parts, "; ")
}

func (d *demo) statuses(ctx context.Context) ([]*status.Status, error) {
	var all []*status.Status
	for _, n := range d.lab.Nodes {
		s, err := status.Ask(ctx, n.StatusSocket())
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// checkCounters makes sure that what was pinged went the way it should: both
// classifiers redirected at least the pings and their answers, and both ends of
// each tunnel counted them.
func (d *demo) checkCounters(statuses []*status.Status) error {
	for _, s := range statuses {
		var redirected uint64
		for _, c := range s.Counters {
			if c.Verdict == "redirect" {
				redirected += c.Packets
			}
		}
		if want := uint64(len(useCases) * 2 * pings); redirected < want {
			return fmt.Errorf("%s: the classifier redirected %d frames, want at least %d", s.Name, redirected, want)
		}
		for _, u := range useCases {
			if err := checkTunnel(s, u.tunnel); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTunnel(s *status.Status, kind string) error {
	for _, l := range s.Links {
		for _, p := range []status.Port{l.Client, l.Endpoint} {
			if p.Kind != kind {
				continue
			}
			if p.Counters.RxPackets < 2*pings || p.Counters.TxPackets < 2*pings {
				return fmt.Errorf("%s: %s received %d and sent %d packets, want at least %d each",
					s.Name, p.Description, p.Counters.RxPackets, p.Counters.TxPackets, 2*pings)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: no link with a %s port", s.Name, kind)
}

func (d *demo) show(statuses []*status.Status) {
	for i, s := range statuses {
		_, _ = fmt.Fprintf(d.Out, "\n--- node %d: forwarder status ---\n", i+1)
		_ = s.WriteTable(d.Out)
	}
	_, _ = fmt.Fprint(d.Out, picture)
}

const picture = `
--- the path of a packet, here from client to endpoint ---

  node 1                                  node 2
  client pod                              endpoint pod
    nsm-1 172.16.1.101                      172.16.1.100
      |  TAP (Ethernet), TUN (IP)             ^  TAP, TUN
      v                                       |
    forwarder                               forwarder
      VXLAN (Ethernet), WireGuard (IP)        VXLAN, WireGuard
      |  AF_XDP socket                        ^  AF_XDP socket
      v                                       |
    eth0 10.99.0.1 ------- underlay ------> eth0 10.99.0.2
                                              XDP classifier
                                              +--> all else: Linux
`

func (d *demo) keep(ctx context.Context) {
	_, _ = fmt.Fprintf(d.Out, "\nEverything stays up until Ctrl-C. Look around, for instance:\n")
	for _, l := range d.links {
		_, _ = fmt.Fprintf(d.Out, "  ip netns exec %s ping %s\n", l.nsc.Pod.Name, l.endpoint)
	}
	for _, n := range d.lab.Nodes {
		_, _ = fmt.Fprintf(d.Out, "  %s/forwarder status --socket %s\n", d.Bin, n.StatusSocket())
	}
	_, _ = fmt.Fprintf(d.Out, "  ip netns exec %s tcpdump -ni eth0\n  logs: %s/node*/*.log\n", d.lab.Nodes[0].Name, d.lab.Dir)
	<-ctx.Done()
}

// explain prints the ends of the logs.
func (d *demo) explain() {
	if d.lab == nil {
		return
	}
	for _, p := range d.lab.Processes() {
		if text := p.Tail(8); text != "" {
			_, _ = fmt.Fprintf(d.Out, "\n--- %s ---\n%s\n", p.Log, text)
		}
	}
}

// step is a line of progress.
type step struct {
	out     io.Writer
	what    string
	started time.Time
}

func (d *demo) step(what string) *step {
	return &step{out: d.Out, what: what, started: time.Now()}
}

func (s *step) end(err error) error {
	verdict := "ok"
	if err != nil {
		verdict = "FAILED"
	}
	_, _ = fmt.Fprintf(s.out, "%-6s %6.2f s  %s\n", verdict, time.Since(s.started).Seconds(), s.what)
	if err != nil {
		return fmt.Errorf("%s: %w", s.what, err)
	}
	return nil
}

func (d *demo) note(format string, args ...any) {
	_, _ = fmt.Fprintf(d.Out, "                  "+format+"\n", args...)
}

// Check says why the demo cannot run here, if it cannot.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces and needs root: run it with sudo")
	}
	return nil
}
