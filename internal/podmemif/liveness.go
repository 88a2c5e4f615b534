// SPDX-License-Identifier: Apache-2.0

package podmemif

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/nsm-afxdp/forwarder/internal/ping"
)

// Alive tells whether packets of the connection get there and back, by its own stack,
// or by the kernel if it has no memif. A memif that another program of the pod has
// counts as alive.
func (c *Connections) Alive(ctx context.Context, conn *networkservice.Connection) bool {
	switch stack, ok := c.Get(conn.GetId()); {
	case !ok:
		return ping.Alive(ctx, conn)
	case stack == nil:
		return true
	default:
		return ping.AliveBy(ctx, conn, stack.Echo)
	}
}
