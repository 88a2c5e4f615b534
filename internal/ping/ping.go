// SPDX-License-Identifier: Apache-2.0

// Package ping asks hosts for a sign of life by ICMP echo (RFC 792, RFC 4443), once or
// in a session like that of ping(8).
package ping

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// Protocol numbers of IP.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// Ask sends count echo requests from src to dst, spread over interval each, and returns
// nil as soon as one is answered. It fails when ctx ends before that. It runs in the
// network namespace of the calling process and needs neither root nor a capability
// where net.ipv4.ping_group_range includes the process, CAP_NET_RAW elsewhere.
func Ask(ctx context.Context, src, dst netip.Addr, count int, interval time.Duration) error {
	conn, err := Open(src, dst, false)
	if err == nil {
		err = First(ctx, conn, count, interval)
	}
	if err != nil {
		return fmt.Errorf("ping %s from %s: %w", dst, src, err)
	}
	return nil
}

// nextID tells the echoes of this process apart where nobody else does so.
var nextID atomic.Uint32

func init() { nextID.Store(uint32(os.Getpid()) << 4) }

// NextID is an identifier for echo requests that this process has not used lately.
func NextID() uint16 { return uint16(nextID.Add(1)) }
