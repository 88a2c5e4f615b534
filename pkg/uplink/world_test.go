// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	soon = 3 * time.Second
	poll = time.Millisecond
)

// node makes a network namespace that lives as long as the test.
func node(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	path, closeNS, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = closeNS() })
	sh(t, path, "ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0")
	return path
}

// cable joins two nodes by a veth pair, both ends up.
func cable(t testing.TB, a, nameA, b, nameB string) {
	t.Helper()
	require.NoError(t, netns.Do(b, func() error {
		inB, err := vnetns.Get()
		if err != nil {
			return err
		}
		defer inB.Close()
		return netns.Do(a, func() error {
			return netlink.LinkAdd(&netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: 1500}, PeerName: nameB, PeerNamespace: netlink.NsFd(int(inB)),
			})
		})
	}))
	sh(t, b, "ip link set "+nameB+" up")
	sh(t, a, "ip link set "+nameA+" up")
	awaitCarrier(t, a, nameA, true)
	awaitCarrier(t, b, nameB, true)
}

// awaitCarrier waits until the kernel tells that a link has a carrier, or has
// none: older kernels take up to a second.
func awaitCarrier(t testing.TB, ns, name string, carrier bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var link netlink.Link
		require.NoError(t, netns.Do(ns, func() (err error) {
			link, err = netlink.LinkByName(name)
			return err
		}))
		if (link.Attrs().RawFlags&unix.IFF_RUNNING != 0) == carrier {
			return
		}
		require.True(t, time.Now().Before(deadline), "carrier of %s", name)
	}
}

func sh(t testing.TB, ns, script string) string {
	t.Helper()
	// ip complains about other tests' namespaces that have just gone.
	var out, complaints strings.Builder
	err := netns.Do(ns, func() error {
		cmd := exec.Command("sh", "-ec", script)
		cmd.Stdout, cmd.Stderr = &out, &complaints
		return cmd.Run()
	})
	require.NoError(t, err, "%s: %s%s", script, &out, &complaints)
	return strings.TrimSpace(out.String())
}

func macOf(t testing.TB, ns, link string) [6]byte {
	t.Helper()
	mac, err := net.ParseMAC(sh(t, ns, "ip -o link show "+link+" | sed 's/.*ether \\([^ ]*\\).*/\\1/'"))
	require.NoError(t, err)
	return [6]byte(mac)
}

// pair is two nodes on one link: us with eth0, 10.0.0.1 and 2001:db8::1, the
// peer with eth1, 10.0.0.2 and 2001:db8::2.
func pair(t testing.TB) (us, peer string) {
	t.Helper()
	us, peer = node(t), node(t)
	cable(t, us, "eth0", peer, "eth1")
	sh(t, us, "ip addr add 10.0.0.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad")
	sh(t, peer, "ip addr add 10.0.0.2/24 dev eth1; ip addr add 2001:db8::2/64 dev eth1 nodad")
	return us, peer
}

func open(t testing.TB, c Config) *Uplink {
	t.Helper()
	c.Log = func(format string, args ...any) { t.Logf(format, args...) }
	u, err := Open(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, u.Close()) })
	return u
}

func hop(t testing.TB, u *Uplink, remote string) *NextHop {
	t.Helper()
	h, err := u.NextHop(netip.MustParseAddr(remote))
	require.NoError(t, err)
	t.Cleanup(h.Release)
	return h
}

// becomes waits until a hop is as wanted, and returns after how long.
func becomes(t testing.TB, h *NextHop, within time.Duration, what string, is func(*Hop) bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !is(h.Load()) {
		if time.Since(start) > within {
			require.FailNow(t, "too late", "%s: still %+v after %v; %+v", what, h.Load(), within, h.uplink.Hops())
		}
		time.Sleep(poll)
	}
	return time.Since(start)
}

func leadsTo(mac [6]byte) func(*Hop) bool {
	return func(h *Hop) bool { return h.Valid && h.Dst == mac }
}
