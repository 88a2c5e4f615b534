// SPDX-License-Identifier: Apache-2.0

package survivors

import "github.com/nsm-afxdp/forwarder/pkg/plane"

// NewEntry is what is written down of a connection whose tunnel is the process.
func NewEntry(c *plane.Connection) any { return newEntry(c, true) }

// Parse reads a file.
func Parse(text []byte) (*plane.Connection, error) {
	e, err := parse(text)
	if err != nil {
		return nil, err
	}
	return e.connection(), nil
}
