// SPDX-License-Identifier: Apache-2.0

// Package doctor tells, before the forwarder starts, whether this node can run
// it, and what to do where it cannot.
//
// What the kernel can do is found by doing it, in a network namespace that is
// thrown away, not by version numbers. Nothing of the node is changed, save
// that the kernel may load modules for the devices that are tried.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
)

// Status is the verdict of a check.
type Status string

// The verdicts. A node with a Fail cannot run the forwarder as it is
// configured. With a Warn it runs, but slower or with something missing. Skip
// says that there was no way to tell.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found says what is there, Advice what to do about it if it is not as it
	// should be.
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

// Report is the result of all checks, in a fixed order.
type Report struct {
	Verdict Status  `json:"verdict"`
	Checks  []Check `json:"checks"`
}

// Options say what is to be checked.
type Options struct {
	// Tunnel is the tunnel address, the zero Addr for the default route's.
	Tunnel netip.Addr
	// NetNS is a path to the network namespace of the uplink, empty for the
	// caller's.
	NetNS string
	// BPFFS is where the classifier would be pinned.
	BPFFS string
	// Attach allows to attach an empty XDP program to the uplink, and to bind a
	// zero-copy socket to its first queue, for a moment. Many drivers reset the
	// link for that. Without it, what the driver says is believed.
	Attach bool
}

// DefaultBPFFS is where a BPF file system is usually mounted.
const DefaultBPFFS = "/sys/fs/bpf"

// Run looks at everything. It needs no privilege: what it may not look at it
// reports as such.
func Run(o Options) Report {
	if o.BPFFS == "" {
		o.BPFFS = DefaultBPFFS
	}
	return judge(gather(o))
}

// judge comes to the verdicts. It looks at nothing but the facts.
func judge(f *facts) Report {
	r := Report{Verdict: OK}
	for _, check := range checks {
		c := check.verdict(f)
		c.Name = check.name
		r.Checks = append(r.Checks, c)
		if rank(c.Status) > rank(r.Verdict) {
			r.Verdict = c.Status
		}
	}
	return r
}

func rank(s Status) int {
	switch s {
	case Fail:
		return 2
	case Warn:
		return 1
	}
	return 0
}

// Failed tells whether the forwarder cannot run here.
func (r Report) Failed() bool { return r.Verdict == Fail }

// WriteTable writes the report for people.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tSTATUS\tFOUND")
	for _, c := range r.Checks {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.Name, c.Status, oneLine(c.Found))
		if c.Advice != "" {
			fmt.Fprintf(t, "\t\t-> %s\n", oneLine(c.Advice))
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	verdict := map[Status]string{
		OK:   "This node can run the forwarder.",
		Warn: "This node can run the forwarder; see the warnings.",
		Fail: "This node cannot run the forwarder as it is.",
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", verdict[r.Verdict]); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
