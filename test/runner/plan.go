// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// plan is which packages of a module are tested together, as groups that come one
// by one.
type plan struct {
	groups [][]string
	beside [][]string // while the others are, in the time that they leave
}

// newPlan sorts the packages of a module that patterns name. alone and beside are
// patterns with commas between them.
func newPlan(ctx context.Context, dir string, patterns []string, alone, beside string) (*plan, error) {
	var lists [3][]string
	for i, p := range [][]string{patterns, fields(alone), fields(beside)} {
		if len(p) == 0 {
			continue
		}
		var err error
		if lists[i], err = list(ctx, dir, p); err != nil {
			return nil, err
		}
	}
	return sortOut(lists[0], lists[1], lists[2]), nil
}

// sortOut makes a group of each package in alone and in beside that is among all,
// and the first group of those that are in neither.
func sortOut(all, alone, beside []string) *plan {
	var p plan
	var together []string
	for _, name := range all {
		switch {
		case slices.Contains(beside, name):
			p.beside = append(p.beside, []string{name})
		case slices.Contains(alone, name):
			p.groups = append(p.groups, []string{name})
		default:
			together = append(together, name)
		}
	}
	if len(together) > 0 {
		p.groups = slices.Insert(p.groups, 0, together)
	}
	return &p
}

func fields(commas string) []string {
	return strings.FieldsFunc(commas, func(r rune) bool { return r == ',' })
}

// list resolves patterns to packages.
func list(ctx context.Context, dir string, patterns []string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, patterns...)...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	return strings.Fields(string(out)), nil
}
