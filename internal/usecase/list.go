// SPDX-License-Identifier: Apache-2.0

package usecase

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// header and columns are what lists of use cases show.
var header = []string{"NAME", "CLIENT", "PAYLOAD, TUNNEL", "ENDPOINT", "CIDR", "REQUEST"}

func (c *Case) columns() []string {
	endpoint := strings.ToLower(string(c.Endpoint))
	if c.VLAN != 0 {
		endpoint = fmt.Sprintf("host on VLAN %d", c.VLAN)
	}
	return []string{c.Name, strings.ToLower(string(c.Client)), c.Carries(), endpoint, c.CIDR.String(), c.Request()}
}

// List prints use cases for people.
func List(w io.Writer, cases []Case) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, strings.Join(header, "\t"))
	for i := range cases {
		_, _ = fmt.Fprintln(t, strings.Join(cases[i].columns(), "\t"))
	}
	return t.Flush()
}
