// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name               string
		all, alone, beside []string
		want               plan
	}{
		{
			name: "nothing special", all: []string{"a", "b"},
			want: plan{groups: [][]string{{"a", "b"}}},
		},
		{
			name: "some alone after the others, some beside",
			all:  []string{"a", "b", "c", "d", "e", "f"}, alone: []string{"b", "c"}, beside: []string{"a", "e"},
			want: plan{groups: [][]string{{"d", "f"}, {"b"}, {"c"}}, beside: [][]string{{"a"}, {"e"}}},
		},
		{
			name: "not among those to test",
			all:  []string{"b"}, alone: []string{"b", "c"}, beside: []string{"a"},
			want: plan{groups: [][]string{{"b"}}},
		},
		{
			name: "only beside", all: []string{"a"}, beside: []string{"a"},
			want: plan{beside: [][]string{{"a"}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, *sortOut(c.all, c.alone, c.beside))
		})
	}
}

func TestPatternsOfAPlan(t *testing.T) {
	p, err := newPlan(t.Context(), ".", []string{"./...", "../vm/wire"}, "../vm/wire,../bench", "./...")
	require.NoError(t, err)
	const module = "github.com/nsm-afxdp/forwarder/test/"
	require.Equal(t, plan{groups: [][]string{{module + "vm/wire"}}, beside: [][]string{{module + "runner"}}}, *p)
	_, err = newPlan(t.Context(), ".", []string{"./nowhere"}, "", "")
	require.ErrorContains(t, err, "list packages")
}
