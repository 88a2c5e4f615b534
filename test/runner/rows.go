// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/nsm-afxdp/forwarder/internal/usecase"
)

// rowsTest is the test whose subtests are VARIANT/ROW: rows of the table of use
// cases in the labs that they run in.
const rowsTest = "TestRows/"

// inGuest begins the names of those that test/vm runs in a virtual machine.
const inGuest = "TestUseCases/"

// rows is how the use cases fared, as their tests tell.
type rows struct {
	variants []string // in their order on the machine
	guests   []string // those that have run in a virtual one
	names    []string
	verdicts map[[2]string]verdict // by variant and row
}

// verdict is how a row fared.
type verdict struct {
	text  string // ok, skip or FAIL
	why   string // it was skipped
	guest bool   // in a virtual machine
}

// add takes the end of a test, if it is one of a row. why says why one was skipped.
// A row that runs both on the machine and in a virtual one has the verdict that says
// most: it failed, else it passed.
func (r *rows) add(name, text, why string) {
	name, guest := strings.CutPrefix(name, inGuest)
	rest, found := strings.CutPrefix(name, rowsTest)
	variant, row, nested := strings.Cut(rest, "/")
	if !found || !nested || strings.Contains(row, "/") {
		return
	}
	if r.verdicts == nil {
		r.verdicts = map[[2]string]verdict{}
	}
	seen := &r.variants
	if guest {
		seen = &r.guests
	}
	if !slices.Contains(*seen, variant) {
		*seen = append(*seen, variant)
	}
	if !slices.Contains(r.names, row) {
		r.names = append(r.names, row)
	}
	key, v := [2]string{variant, row}, verdict{text, why, guest}
	if old := r.verdicts[key]; v.weight() > old.weight() || v.weight() == old.weight() && old.guest {
		r.verdicts[key] = v
	}
}

func (v *verdict) weight() int { return slices.Index([]string{"", "skip", "ok", "FAIL"}, v.text) }

func (r *rows) allVariants() []string {
	elsewhere := func(v string) bool { return slices.Contains(r.variants, v) }
	return slices.Concat(r.variants, slices.DeleteFunc(slices.Clone(r.guests), elsewhere))
}

// position is where a row stands in the table of use cases; others come last.
func position(name string) int {
	i := slices.IndexFunc(usecase.Table, func(c usecase.Case) bool { return c.Name == name })
	if i < 0 {
		return len(usecase.Table)
	}
	return i
}

// print writes the table, if any row has run.
func (r *rows) print(w io.Writer, markdown bool) {
	if len(r.names) == 0 {
		return
	}
	slices.SortStableFunc(r.names, func(a, b string) int { return position(a) - position(b) })
	variants := r.allVariants()
	lines := [][]string{{"use case"}}
	for i := range variants {
		lines[0] = append(lines[0], fmt.Sprint(i+1))
	}
	var n notes
	for _, name := range r.names {
		line := []string{name}
		for _, variant := range variants {
			line = append(line, n.cell(r.verdicts[[2]string{variant, name}]))
		}
		lines = append(lines, line)
	}
	_, _ = fmt.Fprintln(w)
	if markdown {
		writeMarkdown(w, lines)
	} else {
		writeColumns(w, lines)
	}
	_, _ = fmt.Fprintln(w)
	for i, variant := range variants {
		_, _ = fmt.Fprintf(w, "%d. %s\n", i+1, strings.ReplaceAll(variant, "_", " "))
	}
	_, _ = fmt.Fprintln(w)
	n.print(w)
}

// notes are what is said below the table.
type notes struct {
	reasons []string // of skips, noted as a, b, c
	guest   bool
}

// cell is what the table shows of a verdict.
func (n *notes) cell(v verdict) string {
	text := v.text
	if text == "" {
		return "-"
	}
	if v.why != "" {
		if !slices.Contains(n.reasons, v.why) {
			n.reasons = append(n.reasons, v.why)
		}
		text += fmt.Sprintf(" %c", 'a'+slices.Index(n.reasons, v.why))
	}
	if v.guest {
		n.guest = true
		text += " v"
	}
	return text
}

func (n *notes) print(w io.Writer) {
	for i, reason := range n.reasons {
		_, _ = fmt.Fprintf(w, "- skip %c: %s\n", 'a'+i, reason)
	}
	if n.guest {
		_, _ = fmt.Fprintln(w, "- v: in a virtual machine with Debian's kernel (test/vm)")
	}
}

func writeColumns(w io.Writer, lines [][]string) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, line := range lines {
		_, _ = fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	_ = t.Flush()
}

func writeMarkdown(w io.Writer, lines [][]string) {
	for i, line := range lines {
		_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			_, _ = fmt.Fprintln(w, strings.Repeat("|---", len(line))+"|")
		}
	}
}
