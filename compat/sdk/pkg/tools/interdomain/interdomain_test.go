// SPDX-License-Identifier: Apache-2.0

package interdomain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/interdomain"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name, target, domain string
		is                   bool
	}{
		{"", "", "", false},
		{"nse", "nse", "", false},
		{"nse@domain.com", "nse", "domain.com", true},
		{"nse@a@b", "nse", "a@b", true},
		{"@domain", "", "domain", true},
	} {
		require.Equal(t, c.is, interdomain.Is(c.name), c.name)
		require.Equal(t, !c.is, interdomain.Not(c.name), c.name)
		require.Equal(t, c.target, interdomain.Target(c.name), c.name)
		require.Equal(t, c.domain, interdomain.Domain(c.name), c.name)
		if c.is {
			require.Equal(t, c.name, interdomain.Join(c.target, c.domain))
		}
	}
}
