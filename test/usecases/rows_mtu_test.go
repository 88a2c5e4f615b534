// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/usecase"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// longestTunnelled is the largest underlay MTU that the embedded plane makes use
// of: what an AF_XDP frame of 4096 bytes has room for.
const longestTunnelled = 3818

// overhead is what a tunnel takes from the underlay's MTU, on IPv4: the figures of
// the stock forwarder, which leaves room for a tag in the inner frame of VXLAN. IPv6
// takes 20 bytes more.
var overhead = map[plane.Kind]int{plane.KindVXLAN: 54, plane.KindWireGuard: 60}

// pathMTU is the MTU that a row must have.
func (b *board) pathMTU(c *usecase.Case) int {
	if c.Local() {
		return plane.DefaultMTU
	}
	mtu := min(b.lab.MTU, longestTunnelled) - overhead[c.Tunnel]
	if b.lab.IPv6 && overhead[c.Tunnel] > 0 {
		mtu -= 20
	}
	if b.fragments(c) {
		mtu = max(mtu, plane.MinMTU6)
	}
	return mtu
}

// fragments tells whether both nodes fragment a row's packets on the underlay if
// need be: Linux does not if they are VXLAN's.
func (b *board) fragments(c *usecase.Case) bool {
	return b.lab.MTU >= plane.MinMTU6 && (c.Tunnel == plane.KindWireGuard || c.Tunnel == plane.KindVXLAN && b.lab.Planes == embeddedBoth)
}

// ipHeader is the length of a header without options.
func ipHeader(c *usecase.Case) int {
	if c.IPv6() {
		return 40
	}
	return 20
}

const echoHeader = 8

// namedMTU finds the MTU in the answer to a packet that is too big.
var namedMTU = regexp.MustCompile(`mtu ?[:=] ?(\d+)`)

// requireMTU sends packets as large as the path, which arrive, and some that are
// a byte larger, which are answered with the path's MTU: by the pod's own stack
// if it knows, else by the forwarder (RFC 1191, RFC 8201).
func (r *row) requireMTU(t *testing.T) {
	t.Helper()
	mtu := r.pathMTU(&r.Case)
	payload := mtu - ipHeader(&r.Case) - echoHeader
	for _, w := range r.Ways() {
		_, err := w.PingLossless(within(t, 30*time.Second), 3, payload, "-M", "do")
		require.NoError(t, err, "%s: packets of exactly %d bytes", w.Name, mtu)

		if r.Host != nil && w.From == r.Host.Namespace && mtu < r.lab.MTU {
			continue // on a network of its own a host is not told of another's MTU
		}
		out, err := w.Ping(within(t, 30*time.Second), "-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", fmt.Sprint(payload+1))
		require.Error(t, err, "%s: packets of %d bytes pass", w.Name, mtu+1)
		named := namedMTU.FindStringSubmatch(out)
		require.NotNil(t, named, "%s: packets of %d bytes: %s", w.Name, mtu+1, out)
		require.Equal(t, strconv.Itoa(mtu), named[1], "%s: %s", w.Name, out)
	}
}
