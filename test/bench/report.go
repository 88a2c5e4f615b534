// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// values are what one measurement found, by name and unit.
type values map[string]float64

// Figure is one side of a comparison.
type Figure struct {
	// Path says in words what was measured, Method how.
	Path   string `json:"path"`
	Method string `json:"method"`
	// Value in the row's unit, and all that was measured along with it.
	Value  float64 `json:"value"`
	Values values  `json:"values,omitempty"`
	// Load is the load average of the machine after the measurement.
	Load float64 `json:"loadAverage"`
	// Skipped is why there is no value: something is not there to measure.
	Skipped string `json:"skipped,omitempty"`
	// Failed is what went wrong.
	Failed string `json:"failed,omitempty"`
}

// Row compares our figure with a peer's.
type Row struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Ours Figure `json:"ours"`
	// Peer is nil where there is nobody to compare with.
	Peer  *Figure `json:"peer,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	Aim   string  `json:"aim,omitempty"`
	Met   *bool   `json:"met,omitempty"`
	// Stock is the figure of the stock stack, from the issue: nothing of it
	// was measured here.
	Stock string `json:"stockFigureFromTheIssueNotMeasuredHere,omitempty"`
}

// Report is the result of a run.
type Report struct {
	Date    time.Time `json:"date"`
	Machine string    `json:"machine"`
	Seconds float64   `json:"secondsPerMeasurement"`
	Rows    []*Row    `json:"rows"`
}

func (r *Report) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// writeTable prints the rows for people, and the setups under them.
func (r *Report) writeTable(w io.Writer) error {
	paths, methods := &notes{mark: "p"}, &notes{mark: "m"}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(columns ...string) { _, _ = fmt.Fprintln(t, strings.Join(columns, "\t")) }
	row("WHAT", "UNIT", "OURS", "PEER", "OURS/PEER", "AIM", "MET", "STOCK*", "LOAD", "SETUP")
	for _, x := range r.Rows {
		peer, ratio, met := "", "", ""
		setup := paths.number(x.Ours.Path) + " " + methods.number(x.Ours.Method)
		if x.Peer != nil {
			peer = x.Peer.String()
			setup += " to " + paths.number(x.Peer.Path) + " " + methods.number(x.Peer.Method)
		}
		if x.Ratio != 0 {
			ratio = fmt.Sprintf("%.2f", x.Ratio)
		}
		if x.Met != nil {
			met = map[bool]string{true: "yes", false: "no"}[*x.Met]
		}
		row(x.Name, x.Unit, x.Ours.String(), peer, ratio, x.Aim, met, x.Stock, fmt.Sprintf("%.1f", x.Ours.Load), setup)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n* stock: a figure of the stock stack from the issue, not measured here.\n\n%s\n%s", paths, methods)
	return err
}

// notes are texts that a table refers to by number.
type notes struct {
	mark  string
	texts []string
}

func (n *notes) number(text string) string {
	i := slices.Index(n.texts, text)
	if i < 0 {
		i = len(n.texts)
		n.texts = append(n.texts, text)
	}
	return fmt.Sprintf("%s%d", n.mark, i+1)
}

func (n *notes) String() string {
	var out strings.Builder
	for i, text := range n.texts {
		_, _ = fmt.Fprintf(&out, "%s%d: %s\n", n.mark, i+1, text)
	}
	return out.String()
}

func (f Figure) String() string {
	switch {
	case f.Failed != "":
		return "FAILED"
	case f.Skipped != "":
		return "skipped: " + f.Skipped
	case math.Abs(f.Value) >= 1000:
		return fmt.Sprintf("%.0f", f.Value)
	default:
		return fmt.Sprintf("%.3g", f.Value)
	}
}

func (f *Figure) valid() bool { return f.Skipped == "" && f.Failed == "" }

// aim is what the issue asks of a row.
type aim struct {
	words string
	met   func(r *Row) bool
}

func atLeast(v float64) *aim {
	return &aim{fmt.Sprintf("≥ %g", v), func(r *Row) bool { return r.Ours.Value >= v }}
}

func below(v float64) *aim {
	return &aim{fmt.Sprintf("< %g", v), func(r *Row) bool { return r.Ours.Value < v }}
}

func ratio(v float64) *aim {
	return &aim{fmt.Sprintf("ratio ≥ %g", v), func(r *Row) bool { return r.Ratio >= v }}
}

func atMost(v float64) *aim {
	return &aim{fmt.Sprintf("ratio ≤ %g", v), func(r *Row) bool { return r.Ratio <= v }}
}

func (r *Row) judge(a *aim) {
	both := r.Ours.valid() && (r.Peer == nil || r.Peer.valid())
	if both && r.Peer != nil && r.Peer.Value != 0 {
		r.Ratio = r.Ours.Value / r.Peer.Value
	}
	if a == nil {
		return
	}
	r.Aim = a.words
	if both {
		met := a.met(r)
		r.Met = &met
	}
}
