// SPDX-License-Identifier: Apache-2.0

package ping

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

const (
	// asks is how many echo requests may get lost but one.
	asks = 4
	// defaultTimeout is for a context without a deadline.
	defaultTimeout = time.Second
)

// Alive tells whether packets of the connection get there and back: from each of the
// client's addresses every address of the endpoint in its family answers one of four
// echo requests before ctx ends. A connection without such a pair counts as alive. It
// must be called in the network namespace of the client.
func Alive(ctx context.Context, conn *networkservice.Connection) bool {
	return AliveBy(ctx, conn, Open)
}

// AliveBy is Alive on another way to the endpoint than the kernel's. Open makes a
// Conn from the address src to dst.
func AliveBy(ctx context.Context, conn *networkservice.Connection, open func(src, dst netip.Addr, dontFragment bool) (Conn, error)) bool {
	timeout := defaultTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	ip := conn.GetContext().GetIpContext()
	group, groupCtx := errgroup.WithContext(ctx)
	for _, src := range addresses(ip.GetSrcIPNets()) {
		for _, dst := range addresses(ip.GetDstIPNets()) {
			if src.Is4() == dst.Is4() {
				group.Go(func() error {
					c, err := open(src, dst, false)
					if err == nil {
						err = First(groupCtx, c, asks, timeout/(asks+1))
					}
					if err != nil {
						return fmt.Errorf("ping %s from %s: %w", dst, src, err)
					}
					return nil
				})
			}
		}
	}
	if err := group.Wait(); err != nil {
		log.FromContext(ctx).Warnf("connection %s looks dead: %v", conn.GetId(), err)
		return false
	}
	return true
}

func addresses(nets []*net.IPNet) (all []netip.Addr) {
	for _, n := range nets {
		if addr, ok := netip.AddrFromSlice(n.IP); ok {
			all = append(all, addr.Unmap())
		}
	}
	return all
}
