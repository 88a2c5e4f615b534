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
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/status"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
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
	// Cases are what to show; none means Default.
	Cases []usecase.Case
	// Plane is what the forwarders move packets with, as NSM_FORWARDING_PLANE;
	// empty leaves it to FORWARDING_PLANE.
	Plane string
}

// Default is what the demo shows unless told otherwise: both payloads.
var Default = []string{"Kernel2Ethernet2Kernel", "Kernel2IP2Kernel"}

// Run shows it all and cleans up, whatever happens. It returns nil only if
// every ping and check passed.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o, started: time.Now()}
	if len(d.Cases) == 0 {
		if d.Cases, err = usecase.FindAll(Default); err != nil {
			return err
		}
	}
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
	links   []*lab.Linked
	started time.Time
}

func (d *demo) run(ctx context.Context) error {
	step := d.step("make two nodes and a link between them")
	var err error
	d.lab, err = lab.New(lab.Config{
		Tag: "demo", Bin: d.Bin, LogLevel: d.LogLevel, Planes: [2]string{d.Plane, d.Plane},
		Switch: slices.ContainsFunc(d.Cases, func(c usecase.Case) bool { return c.VLAN != 0 }),
	})
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
	for i := range d.Cases {
		if err := d.link(ctx, &d.Cases[i]); err != nil {
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
	if err := d.checkCounters(statuses); err != nil {
		return err
	}
	d.show(statuses)
	if d.Keep {
		d.keep(ctx)
	}
	return nil
}

// link starts an endpoint, and a client on the first node.
func (d *demo) link(ctx context.Context, c *usecase.Case) error {
	step := d.step(fmt.Sprintf("link %s (%s client, %s, %s endpoint)", c.Name, c.Client, c.Carries(), c.Endpoint))
	k, err := d.lab.Link(ctx, c, nil)
	if err != nil {
		return step.end(err)
	}
	d.links = append(d.links, k)
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	return step.end(k.AwaitUp(ctx))
}

const (
	pings    = 10
	pingSize = 56
	// linkTimeout ends the wait for a client that is refused again and again, such
	// as one for memif by the kernel plane.
	linkTimeout = 30 * time.Second
)

func (d *demo) ping(ctx context.Context) error {
	for _, k := range d.links {
		for _, way := range k.Ways() {
			step := d.step(fmt.Sprintf("ping %s, %s", k.Name, way.Name))
			out, err := way.PingLossless(ctx, pings, pingSize)
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

func (d *demo) keep(ctx context.Context) {
	_, _ = fmt.Fprintf(d.Out, "\nEverything stays up until Ctrl-C. Look around, for instance:\n")
	for _, k := range d.links {
		for _, way := range k.Ways() {
			_, _ = fmt.Fprintf(d.Out, "  %s\n", way.Command())
		}
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
