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

// rows is how the use cases fared, as their tests tell.
type rows struct {
	variants []string
	names    []string
	verdicts map[[2]string]string // by variant and row
	reasons  []string             // of skips
}

// add takes the end of a test, if it is one of a row. why says why one was
// skipped.
func (r *rows) add(name, verdict, why string) {
	rest, found := strings.CutPrefix(name, rowsTest)
	variant, row, nested := strings.Cut(rest, "/")
	if !found || !nested || strings.Contains(row, "/") {
		return
	}
	if r.verdicts == nil {
		r.verdicts = map[[2]string]string{}
	}
	if !slices.Contains(r.variants, variant) {
		r.variants = append(r.variants, variant)
	}
	if !slices.Contains(r.names, row) {
		r.names = append(r.names, row)
	}
	if why != "" {
		if !slices.Contains(r.reasons, why) {
			r.reasons = append(r.reasons, why)
		}
		verdict = fmt.Sprintf("%s %c", verdict, 'a'+slices.Index(r.reasons, why))
	}
	r.verdicts[[2]string{variant, row}] = verdict
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
	lines := [][]string{{"use case"}}
	for i := range r.variants {
		lines[0] = append(lines[0], fmt.Sprint(i+1))
	}
	for _, name := range r.names {
		line := []string{name}
		for _, variant := range r.variants {
			verdict := r.verdicts[[2]string{variant, name}]
			if verdict == "" {
				verdict = "-"
			}
			line = append(line, verdict)
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
	for i, variant := range r.variants {
		_, _ = fmt.Fprintf(w, "%d. %s\n", i+1, strings.ReplaceAll(variant, "_", " "))
	}
	_, _ = fmt.Fprintln(w)
	for i, reason := range r.reasons {
		_, _ = fmt.Fprintf(w, "- skip %c: %s\n", 'a'+i, reason)
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
