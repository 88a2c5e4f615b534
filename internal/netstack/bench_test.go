// SPDX-License-Identifier: Apache-2.0

package netstack_test

import (
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/ping"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// BenchmarkTCP is one stream from one stack to another by a memif, with nothing
// in between: go test -bench TCP ./internal/netstack
func BenchmarkTCP(b *testing.B) {
	for _, mtu := range []int{1446, 9000} {
		b.Run(fmt.Sprintf("MTU %d", mtu), func(b *testing.B) {
			client, endpoint := pair(b, memif.Ethernet, mtu)
			listener, err := endpoint.ListenTCP(9)
			require.NoError(b, err)
			defer func() { _ = listener.Close() }()
			received := make(chan int64, 1)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				buf := make([]byte, 128<<10)
				n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, conn, buf)
				_ = conn.Close()
				received <- n
			}()
			conn, err := client.DialContext(b.Context(), "tcp", netip.AddrPortFrom(endpointV4, 9).String())
			require.NoError(b, err)
			defer func() { _ = conn.Close() }()
			data := make([]byte, 32<<10)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				_, err := conn.Write(data)
				require.NoError(b, err)
			}
			require.NoError(b, conn.(interface{ CloseWrite() error }).CloseWrite())
			require.Equal(b, int64(len(data)*b.N), <-received)
		})
	}
}

// BenchmarkPing is a round trip.
func BenchmarkPing(b *testing.B) {
	client, _ := pair(b, memif.Ethernet, 1446)
	_, _ = echoes(b, client, endpointV4, ping.Options{Count: 1, Timeout: quick.Timeout})
	b.ResetTimer()
	summary, _ := echoes(b, client, endpointV4, ping.Options{Count: b.N, Timeout: quick.Timeout})
	require.Equal(b, b.N, summary.Received)
}
