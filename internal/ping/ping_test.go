// SPDX-License-Identifier: Apache-2.0

package ping_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/ping"
)

// namespace makes a network namespace with a loopback, and a link on which nobody
// answers for 192.0.2.0/24 and 2001:db8::/64.
func namespace(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	name := fmt.Sprintf("nsm-ping-%d", os.Getpid())
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		_, err := vnetns.NewNamed(name)
		done <- err
	}()
	require.NoError(t, <-done)
	t.Cleanup(func() { require.NoError(t, vnetns.DeleteNamed(name)) })
	path := filepath.Join("/run/netns", name)
	require.NoError(t, netns.Do(path, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		silent := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "silent"}, PeerName: "nobody"}
		if err := netlink.LinkAdd(silent); err != nil {
			return err
		}
		for _, address := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
			addr, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			addr.Flags = 2 // IFA_F_NODAD
			if err := netlink.AddrAdd(silent, addr); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(silent)
	}))
	return path
}

func ask(t *testing.T, in, src, dst string, timeout time.Duration) (took time.Duration, err error) {
	t.Helper()
	started := time.Now()
	err = netns.Do(in, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return ping.Ask(ctx, netip.MustParseAddr(src), netip.MustParseAddr(dst), 4, timeout/5)
	})
	return time.Since(started), err
}

func TestHostsAreAskedForASignOfLife(t *testing.T) {
	in := namespace(t)
	for _, sockets := range []struct{ name, groups string }{
		{"raw sockets", "1\t0"},
		{"ping sockets", "0\t2147483647"},
	} {
		t.Run(sockets.name, func(t *testing.T) {
			require.NoError(t, netns.Do(in, func() error {
				return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(sockets.groups), 0)
			}))
			for _, alive := range [][2]string{{"127.0.0.1", "127.0.0.1"}, {"127.0.0.1", "192.0.2.1"}, {"::1", "::1"}, {"::1", "2001:db8::1"}} {
				took, err := ask(t, in, alive[0], alive[1], 5*time.Second)
				require.NoError(t, err, "%v", alive)
				require.Less(t, took, 3*time.Second, "the first answer must do, four would take longer")
			}
			for _, dead := range [][2]string{{"192.0.2.1", "192.0.2.77"}, {"2001:db8::1", "2001:db8::77"}, {"192.0.2.1", "198.51.100.1"}} {
				took, err := ask(t, in, dead[0], dead[1], 300*time.Millisecond)
				require.ErrorIs(t, err, context.DeadlineExceeded, "%v", dead)
				require.Less(t, took, 5*time.Second)
			}
			_, err := ask(t, in, "203.0.113.1", "127.0.0.1", time.Second)
			require.ErrorContains(t, err, "203.0.113.1", "a source that is not ours")
		})
	}
}

func TestAFinishedProbeLeavesNothingOpen(t *testing.T) {
	in := namespace(t)
	before, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for range 10 {
		_, _ = ask(t, in, "127.0.0.1", "127.0.0.1", time.Second)
		_, _ = ask(t, in, "192.0.2.1", "192.0.2.77", 20*time.Millisecond)
	}
	after, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	require.LessOrEqual(t, len(after), len(before))
}

func TestFamiliesDoNotMix(t *testing.T) {
	err := ping.Ask(t.Context(), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), 1, time.Second)
	require.ErrorContains(t, err, "address family")
}

func TestAConnectionIsAliveWhenEveryPairOfAFamilyAnswers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for raw sockets")
	}
	for _, test := range []struct {
		name     string
		src, dst []string
		want     bool
	}{
		{"no addresses", nil, nil, true},
		{"no common family", []string{"127.0.0.1/32"}, []string{"::1/128"}, true},
		{"both ends here", []string{"127.0.0.1/32"}, []string{"127.0.0.2/32"}, true},
		{"both families", []string{"127.0.0.1/32", "::1/128"}, []string{"127.0.0.2/32", "::1/128"}, true},
		{"one pair dead", []string{"127.0.0.1/32", "::1/128"}, []string{"127.0.0.2/32", "::2/128"}, false},
		{"source gone", []string{"203.0.113.1/32"}, []string{"127.0.0.1/32"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			got := ping.Alive(ctx, &networkservice.Connection{Id: "id", Context: &networkservice.ConnectionContext{
				IpContext: &networkservice.IPContext{SrcIpAddrs: test.src, DstIpAddrs: test.dst},
			}})
			require.Equal(t, test.want, got)
		})
	}
}
