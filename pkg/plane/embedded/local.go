// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/veth"
)

// localEnd is one end of a veth pair between two pods of this node. The kernel
// moves the packets.
type localEnd struct {
	pair *veth.Pair
	side int
}

// newLocal makes both ends.
func newLocal(p *Plane, c *plane.Connection, a, b plane.Kernel) ([2]end, error) {
	pair, err := veth.Join(c, a, b, p.fault)
	if err != nil {
		return [2]end{}, err
	}
	return [2]end{&localEnd{pair, 0}, &localEnd{pair, 1}}, nil
}

func (*localEnd) connect(context.Context, end) error { return nil }

func (*localEnd) disconnect() {}

func (l *localEnd) close() error {
	if l.side != 0 {
		return nil
	}
	return l.pair.Close()
}

func (l *localEnd) count() plane.Counters { return l.pair.Counters()[l.side] }
