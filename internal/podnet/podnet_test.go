// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// newPod makes a network namespace without IPv6 duplicate detection and
// link-local addresses, whose timing would make states differ.
func newPod(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	path, closeNS, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = closeNS() })
	in(t, path, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.addr_gen_mode=1")
	return path
}

// wire joins two pods by a veth pair of the given names, both ends down.
func wire(t testing.TB, a, nameA, b, nameB string) {
	t.Helper()
	require.NoError(t, netns.Do(b, func() error {
		inB, err := vnetns.Get()
		if err != nil {
			return err
		}
		defer inB.Close()
		return netns.Do(a, func() error {
			return netlink.LinkAdd(&netlink.Veth{
				LinkAttrs:     netlink.LinkAttrs{Name: nameA, MTU: 1500},
				PeerName:      nameB,
				PeerNamespace: netlink.NsFd(int(inB)),
			})
		})
	}))
}

// in runs a program in a namespace and returns what it printed.
func in(t testing.TB, ns string, program string, args ...string) string {
	t.Helper()
	out, err := try(ns, program, args...)
	require.NoError(t, err, "%s %v: %s", program, args, out)
	return out
}

func try(ns string, program string, args ...string) (string, error) {
	var out []byte
	err := netns.Do(ns, func() (err error) {
		out, err = exec.Command(program, args...).CombinedOutput()
		return err
	})
	return string(out), err
}

// everything is the whole network state of a namespace that Apply may touch.
func everything(t testing.TB, ns string) string {
	t.Helper()
	// Linux makes the routes to a pod's own IPv6 addresses a little later than the addresses.
	const script = `ip -o link | sed 's/ qdisc.*state/ state/; s/,LOWER_UP//; s/,NO-CARRIER//; s/NO-CARRIER,//; s/state.*mode/mode/'; ip -o addr show scope global; ip -4 route show table all
ip -6 route show table all | grep -v -e ff00::/8 -e '^local .* proto kernel'; ip rule; ip -6 rule; ip neigh show nud permanent
for s in ipv4/ping_group_range ipv4/conf/*/route_localnet ipv6/conf/*/disable_ipv6; do echo $s $(cat /proc/sys/net/$s); done`
	return in(t, ns, "sh", "-c", script)
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func prefixes(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, prefix(s))
	}
	return out
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// full uses everything that a Config has.
func full() Config {
	return Config{
		MTU:       1400,
		Addresses: prefixes("172.16.1.2/32", "2001:db8:1::2/128"),
		Peers:     prefixes("172.16.1.1/32", "2001:db8:1::1/128"),
		Routes: []Route{
			{Prefix: prefix("10.20.0.0/16")},
			{Prefix: prefix("10.30.0.0/16"), Via: netip.MustParseAddr("172.16.9.9")},
			{Prefix: prefix("2001:db8:20::/48")},
		},
		Policies: []Policy{
			{From: prefix("172.16.1.0/24"), Protocol: 6, DstPort: PortRange{6666, 6670}, Routes: []Route{{Prefix: prefix("172.30.0.0/16"), Via: netip.MustParseAddr("172.16.1.100")}}},
			{Protocol: 17, SrcPort: PortRange{5000, 5000}, Routes: []Route{{Prefix: prefix("0.0.0.0/0")}, {Prefix: prefix("::/0")}}},
		},
		Neighbours:    []Neighbour{{netip.MustParseAddr("172.16.1.1"), mac("02:00:00:00:00:01")}, {netip.MustParseAddr("2001:db8:1::1"), mac("02:00:00:00:00:01")}},
		Ping:          true,
		RouteLocalnet: true,
	}
}

// other changes or drops every part of full.
func other() Config {
	return Config{
		MTU:       1300,
		Addresses: prefixes("172.16.2.2/24", "2001:db8:2::2/64"),
		Peers:     prefixes("172.16.2.1/24", "172.16.3.1/32"),
		Routes:    []Route{{Prefix: prefix("10.30.0.0/16")}, {Prefix: prefix("2001:db8:20::/48"), Via: netip.MustParseAddr("2001:db8:2::1")}},
		Policies: []Policy{
			{From: prefix("172.16.2.0/24"), Routes: []Route{{Prefix: prefix("172.31.0.0/16")}}},
			{Protocol: 6, Routes: []Route{{Prefix: prefix("172.31.0.0/16")}, {Prefix: prefix("2001:db8:31::/48")}}},
		},
		Neighbours: []Neighbour{{netip.MustParseAddr("172.16.2.1"), mac("02:00:00:00:00:02")}},
	}
}

func TestTwoPodsReachEachOther(t *testing.T) {
	client, endpoint := newPod(t), newPod(t)
	wire(t, client, "nsm-1", endpoint, "client-1")
	require.NoError(t, Apply(client, "nsm-1", Config{
		MTU:       1420,
		Addresses: prefixes("172.16.1.2/32", "2001:db8:1::2/128"),
		Peers:     prefixes("172.16.1.1/32", "2001:db8:1::1/128"),
		Routes:    []Route{{Prefix: prefix("10.99.0.0/16")}, {Prefix: prefix("2001:db8:99::/48")}},
		Ping:      true,
	}))
	require.NoError(t, Apply(endpoint, "client-1", Config{
		MTU:       1420,
		Addresses: prefixes("172.16.1.1/32", "2001:db8:1::1/128", "10.99.0.1/32", "2001:db8:99::1/128"),
		Peers:     prefixes("172.16.1.2/32", "2001:db8:1::2/128"),
	}))
	for _, address := range []string{"172.16.1.1", "2001:db8:1::1", "10.99.0.1", "2001:db8:99::1"} {
		in(t, client, "ping", "-n", "-c1", "-W2", "-M", "do", "-s", "1300", address)
	}
	in(t, endpoint, "ping", "-n", "-c1", "-W2", "172.16.1.2")
	in(t, endpoint, "ping", "-n", "-c1", "-W2", "2001:db8:1::2")
	require.Contains(t, in(t, client, "ip", "-6", "addr", "show", "nsm-1"), "nodad")
	require.Contains(t, in(t, client, "ip", "link", "show", "nsm-1"), "mtu 1420")
}

func TestPingIsOpenedToAllGroups(t *testing.T) {
	pod := newPod(t)
	wire(t, pod, "nsm-1", newPod(t), "peer")
	icmp := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
	require.ErrorIs(t, netns.Do(pod, icmp), unix.EACCES)
	require.NoError(t, Apply(pod, "nsm-1", Config{Ping: true}))
	require.NoError(t, netns.Do(pod, icmp))
}

func TestWhatIsInstalled(t *testing.T) {
	pod := newPod(t)
	wire(t, pod, "nsm-1", newPod(t), "peer")
	require.NoError(t, Apply(pod, "nsm-1", full()))
	for _, c := range []struct{ name, destination, want string }{
		{"a peer", "172.16.1.1", "172.16.1.1 dev nsm-1 src 172.16.1.2"},
		{"an IPv6 peer", "2001:db8:1::1", "2001:db8:1::1 from :: dev nsm-1 proto 78 src 2001:db8:1::2"},
		{"a route by the first peer", "10.20.1.1", "10.20.1.1 via 172.16.1.1 dev nsm-1"},
		{"a route by a next hop on the link", "10.30.1.1", "10.30.1.1 via 172.16.9.9 dev nsm-1"},
		{"an IPv6 route by the first peer", "2001:db8:20::5", "via 2001:db8:1::1 dev nsm-1"},
		{"a policy that matches", "172.30.0.1 from 172.16.1.2 ipproto tcp dport 6668", "via 172.16.1.100 dev nsm-1"},
		{"a policy that matches by source port", "8.8.8.8 ipproto udp sport 5000", "via 172.16.1.1 dev nsm-1"},
		{"a policy for IPv6", "2001:4860::8 ipproto udp sport 5000", "via 2001:db8:1::1 dev nsm-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, in(t, pod, "ip", append([]string{"route", "get"}, strings.Fields(c.destination)...)...), c.want)
		})
	}
	for name, destination := range map[string]string{
		"the policy's protocol must match":    "172.30.0.1 from 172.16.1.2 ipproto udp dport 6668",
		"the policy's port must match":        "172.30.0.1 from 172.16.1.2 ipproto tcp dport 6671",
		"the policy's source port must match": "8.8.8.8 ipproto udp sport 5001",
	} {
		t.Run(name, func(t *testing.T) {
			out, err := try(pod, "ip", append([]string{"route", "get"}, strings.Fields(destination)...)...)
			require.Error(t, err)
			require.Contains(t, out, "unreachable")
		})
	}
}

func TestApplyIsIdempotent(t *testing.T) {
	pod := newPod(t)
	wire(t, pod, "nsm-1", newPod(t), "peer")
	for name, c := range map[string]Config{"full": full(), "other": other(), "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, Apply(pod, "nsm-1", c))
			first := everything(t, pod)
			old := fault
			t.Cleanup(func() { fault = old })
			fault = func(what string) error { return fmt.Errorf("the second Apply wants to %s", what) }
			require.NoError(t, Apply(pod, "nsm-1", c))
			require.Equal(t, first, everything(t, pod))
		})
	}
}

func TestChangedConfigLeavesNothingOfTheOldOne(t *testing.T) {
	configs := map[string]Config{"full": full(), "other": other(), "bare": {MTU: 1500}}
	for from, a := range configs {
		for to, b := range configs {
			t.Run(from+" to "+to, func(t *testing.T) {
				changed, fresh := newPod(t), newPod(t)
				wire(t, changed, "nsm-1", newPod(t), "peer")
				wire(t, fresh, "nsm-1", newPod(t), "peer")
				require.NoError(t, Apply(changed, "nsm-1", a))
				require.NoError(t, Apply(changed, "nsm-1", b))
				// Settings stay as they are: others may rely on them.
				b.Ping, b.RouteLocalnet = b.Ping || a.Ping, b.RouteLocalnet || a.RouteLocalnet
				require.NoError(t, Apply(fresh, "nsm-1", b))
				require.Equal(t, anonymous(everything(t, fresh)), anonymous(everything(t, changed)))

				require.NoError(t, Remove(changed, "nsm-1"))
				left := everything(t, changed)
				require.NotContains(t, left, "proto 78")
				require.NotContains(t, left, "20000:")
				require.NotContains(t, left, "scope global")
			})
		}
	}
}

// anonymous forgets what differs between two pods of the same configuration:
// hardware addresses, interface indices, table numbers.
func anonymous(state string) string {
	var out []string
	for _, line := range strings.Split(state, "\n") {
		if _, rest, isLink := strings.Cut(line, "link/"); isLink && rest != "" {
			line, _, _ = strings.Cut(line, "link/")
		}
		for table := firstTable; table < firstTable+10; table++ {
			line = strings.ReplaceAll(line, fmt.Sprint(table), "TABLE")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestOtherRoutesOfThePodSurvive(t *testing.T) {
	pod := newPod(t)
	wire(t, pod, "eth0", newPod(t), "peer0")
	wire(t, pod, "nsm-1", newPod(t), "peer1")
	in(t, pod, "sh", "-c", `ip link set eth0 up; ip addr add 10.244.0.5/24 dev eth0; ip route add default via 10.244.0.1
ip -6 addr add 2001:db8:f::5/64 dev eth0; ip -6 route add default via 2001:db8:f::1; ip rule add from 9.9.9.9 table 78000; ip route add 9.9.0.0/16 dev eth0 table 78001
ip link set nsm-1 up`)
	before := everything(t, pod)
	require.NoError(t, Apply(pod, "nsm-1", Config{
		Addresses:  prefixes("172.16.1.2/32", "2001:db8:1::2/128"),
		Peers:      prefixes("172.16.1.1/32", "2001:db8:1::1/128"),
		Routes:     []Route{{Prefix: prefix("0.0.0.0/0")}, {Prefix: prefix("::/0")}},
		Policies:   []Policy{{Protocol: 6, Routes: []Route{{Prefix: prefix("0.0.0.0/0")}}}},
		Neighbours: []Neighbour{{netip.MustParseAddr("172.16.1.1"), mac("02:00:00:00:00:01")}},
	}))
	require.Contains(t, in(t, pod, "ip", "route", "get", "8.8.8.8"), "dev nsm-1")
	require.Contains(t, in(t, pod, "ip", "route", "get", "2001:4860::8"), "dev nsm-1")
	require.Contains(t, in(t, pod, "ip", "rule"), "lookup 78002 proto 78", "tables of others are not taken")
	require.NoError(t, Remove(pod, "nsm-1"))
	require.Equal(t, before, everything(t, pod))
}

func TestOtherNeighboursOfThePodSurvive(t *testing.T) {
	pod := newPod(t)
	wire(t, pod, "nsm-1", newPod(t), "peer")
	c := Config{
		Addresses:  prefixes("172.16.1.2/24"),
		Neighbours: []Neighbour{{netip.MustParseAddr("172.16.1.1"), mac("02:00:00:00:00:01")}},
	}
	require.NoError(t, Apply(pod, "nsm-1", c))
	in(t, pod, "ip", "neigh", "add", "172.16.1.5", "lladdr", "02:00:00:00:00:05", "dev", "nsm-1")
	c.Neighbours = nil
	require.NoError(t, Apply(pod, "nsm-1", c))
	require.Equal(t, "172.16.1.5 dev nsm-1 lladdr 02:00:00:00:00:05 PERMANENT", strings.TrimSpace(in(t, pod, "ip", "neigh")))
}

func TestEveryStepThatFailsIsUndone(t *testing.T) {
	prepare := map[string]func(t *testing.T, pod string){
		"an interface that is down, with a foreign address and IPv6 off": func(t *testing.T, pod string) {
			in(t, pod, "sh", "-c", "ip addr add 192.0.2.7/24 dev nsm-1; ip link set nsm-1 mtu 1450; sysctl -qw net.ipv6.conf.nsm-1.disable_ipv6=1")
		},
		"an interface with another configuration and a route of the pod's": func(t *testing.T, pod string) {
			require.NoError(t, Apply(pod, "nsm-1", other()))
			in(t, pod, "ip", "route", "add", "198.51.100.0/24", "via", "172.16.2.1", "dev", "nsm-1")
		},
	}
	for name, prepare := range prepare {
		t.Run(name, func(t *testing.T) {
			pod := newPod(t)
			wire(t, pod, "nsm-1", newPod(t), "peer")
			prepare(t, pod)
			before := everything(t, pod)
			old := fault
			t.Cleanup(func() { fault = old })
			failed := 0
			for ; ; failed++ {
				step, where := 0, ""
				fault = func(what string) error {
					if step++; step == failed+1 {
						where = what
						return fmt.Errorf("broken on purpose")
					}
					return nil
				}
				err := Apply(pod, "nsm-1", full())
				if err == nil {
					break
				}
				require.ErrorContains(t, err, "nsm-1: "+where+": broken on purpose")
				require.NotContains(t, err.Error(), "putting back")
				require.Equal(t, before, everything(t, pod), "after failing to %s", where)
			}
			require.Greater(t, failed, 15)
			t.Logf("%d steps failed once each", failed)
		})
	}
}

func TestPoliciesOutliveTheProcessAndTheInterface(t *testing.T) {
	pod := newPod(t)
	wire(t, pod, "nsm-1", newPod(t), "peer")
	wire(t, pod, "nsm-2", newPod(t), "peer")
	c2 := Config{
		Addresses: prefixes("172.16.7.2/32"),
		Policies:  []Policy{{From: prefix("172.16.7.0/24"), Routes: []Route{{Prefix: prefix("172.30.0.0/16"), Via: netip.MustParseAddr("172.16.7.1")}}}},
	}
	require.NoError(t, Apply(pod, "nsm-2", c2))
	second := in(t, pod, "ip", "rule")
	for range 3 {
		require.NoError(t, Apply(pod, "nsm-1", full()))
		require.Equal(t, 3, strings.Count(in(t, pod, "ip", "rule"), "proto 78"))
		require.Equal(t, 1, strings.Count(in(t, pod, "ip", "-6", "rule"), "proto 78"))
		in(t, pod, "ip", "link", "del", "nsm-1") // the rules stay, as the kernel does it
		require.Equal(t, 3, strings.Count(in(t, pod, "ip", "rule"), "proto 78"))
		wire(t, pod, "nsm-1", newPod(t), "peer")
	}
	in(t, pod, "ip", "link", "del", "nsm-1")
	require.NoError(t, Remove(pod, "nsm-1"), "an interface that is gone")
	require.Equal(t, second, in(t, pod, "ip", "rule"))
	require.NoError(t, Remove("/proc/4194305/ns/net", "nsm-1"), "a namespace that is gone")
}

func TestInterfacesOfOnePodConfiguredAtOnce(t *testing.T) {
	pod, far := newPod(t), newPod(t)
	const count = 12
	for i := range count {
		wire(t, pod, fmt.Sprintf("nsm-%d", i), far, fmt.Sprintf("far-%d", i))
	}
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() {
			c := Config{
				Addresses: prefixes(fmt.Sprintf("172.16.%d.2/32", i)),
				Peers:     prefixes(fmt.Sprintf("172.16.%d.1/32", i)),
				Policies:  []Policy{{From: prefix(fmt.Sprintf("172.16.%d.2/32", i)), Routes: []Route{{Prefix: prefix("0.0.0.0/0")}}}},
			}
			if err := Apply(pod, fmt.Sprintf("nsm-%d", i), c); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range count {
		require.Contains(t, in(t, pod, "ip", "route", "get", "8.8.8.8", "from", fmt.Sprintf("172.16.%d.2", i)), fmt.Sprintf("dev nsm-%d", i))
	}
	require.Empty(t, locks)
}

func TestBadInput(t *testing.T) {
	pod := newPod(t)
	wire(t, pod, "nsm-1", newPod(t), "peer")
	before := everything(t, pod)
	for name, c := range map[string]struct {
		ifName string
		config Config
		is     error
		says   string
	}{
		"no name":                 {"", Config{}, ErrInvalid, "interface name"},
		"a name of 16 bytes":      {"nsm-456789012345", Config{}, ErrInvalid, "1 to 15 bytes"},
		"a name with a slash":     {"../eth0", Config{}, ErrInvalid, "slashes"},
		"an interface not there":  {"nsm-2", Config{}, ErrNoInterface, "nsm-2"},
		"an MTU of 67":            {"nsm-1", Config{MTU: 67}, ErrInvalid, "68 to 65535"},
		"an MTU of 65536":         {"nsm-1", Config{MTU: 65536}, ErrInvalid, "68 to 65535"},
		"a negative MTU":          {"nsm-1", Config{MTU: -1}, ErrInvalid, "MTU"},
		"too small for IPv6":      {"nsm-1", Config{MTU: 1279, Addresses: prefixes("2001:db8::1/64")}, ErrInvalid, "1280"},
		"no address":              {"nsm-1", Config{Addresses: make([]netip.Prefix, 1)}, ErrInvalid, "missing"},
		"a multicast address":     {"nsm-1", Config{Addresses: prefixes("224.0.0.1/32")}, ErrInvalid, "224.0.0.1"},
		"a loopback address":      {"nsm-1", Config{Addresses: prefixes("::1/128")}, ErrInvalid, "::1"},
		"the unspecified address": {"nsm-1", Config{Addresses: prefixes("0.0.0.0/0")}, ErrInvalid, "0.0.0.0"},
		"a mapped address":        {"nsm-1", Config{Addresses: prefixes("::ffff:10.0.0.1/120")}, ErrInvalid, "mapped"},
		"a bad peer":              {"nsm-1", Config{Peers: prefixes("ff02::1/128")}, ErrInvalid, "peer address"},
		"a next hop of the wrong family": {"nsm-1", Config{Routes: []Route{{prefix("10.0.0.0/8"), netip.MustParseAddr("fe80::1")}}}, ErrInvalid,
			"different families"},
		"a policy of two families": {"nsm-1", Config{Policies: []Policy{{From: prefix("10.0.0.0/8"), Routes: []Route{{Prefix: prefix("::/0")}}}}}, ErrInvalid,
			"policy 1"},
		"ports the wrong way":    {"nsm-1", Config{Policies: []Policy{{SrcPort: PortRange{2, 1}}}}, ErrInvalid, "2-1"},
		"a route without prefix": {"nsm-1", Config{Routes: make([]Route, 1)}, ErrInvalid, "route"},
		"a neighbour without MAC": {"nsm-1", Config{Neighbours: []Neighbour{{Addr: netip.MustParseAddr("10.0.0.1")}}}, ErrInvalid,
			"hardware address"},
		"a neighbour without address": {"nsm-1", Config{Neighbours: []Neighbour{{HardwareAddr: mac("02:00:00:00:00:01")}}}, ErrInvalid, "neighbour"},
		"a neighbour with two addresses": {"nsm-1", Config{Neighbours: []Neighbour{{netip.MustParseAddr("10.0.0.1"), mac("02:00:00:00:00:01")},
			{netip.MustParseAddr("10.0.0.1"), mac("02:00:00:00:00:02")}}}, ErrInvalid, "two hardware addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Apply(pod, c.ifName, c.config)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, before, everything(t, pod))
		})
	}
	t.Run("an MTU that the interface does not take", func(t *testing.T) {
		in(t, pod, "ip", "tuntap", "add", "tap-1", "mode", "tap")
		err := Apply(pod, "tap-1", Config{MTU: 65535})
		require.ErrorContains(t, err, "set MTU 65535")
		require.ErrorContains(t, err, "does not take it")
	})
	t.Run("a namespace that does not exist", func(t *testing.T) {
		require.ErrorIs(t, Apply("/proc/4194305/ns/net", "nsm-1", Config{}), os.ErrNotExist)
	})
	t.Run("a file that is no namespace", func(t *testing.T) {
		require.ErrorIs(t, Apply("/proc/self/status", "nsm-1", Config{}), netns.ErrNotNetNS)
	})
}

func TestTunnelInterfaceWithoutHardwareAddress(t *testing.T) {
	pod := newPod(t)
	in(t, pod, "ip", "tuntap", "add", "nsm-1", "mode", "tun")
	c := full()
	require.NoError(t, Apply(pod, "nsm-1", c))
	require.Contains(t, in(t, pod, "ip", "route", "get", "10.20.1.1"), "dev nsm-1")
	require.NoError(t, Remove(pod, "nsm-1"))
}

func BenchmarkApply(b *testing.B) {
	pod := newPod(b)
	wire(b, pod, "nsm-1", newPod(b), "peer")
	simple := Config{
		MTU: 1446, Addresses: prefixes("172.16.1.2/32"), Peers: prefixes("172.16.1.1/32"), Ping: true,
		Routes: []Route{{Prefix: prefix("10.20.0.0/16")}},
	}
	for name, c := range map[string]Config{"usual": simple, "everything": full()} {
		b.Run(name+" first", func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, Apply(pod, "nsm-1", c))
				b.StopTimer()
				require.NoError(b, Remove(pod, "nsm-1"))
				b.StartTimer()
			}
		})
		b.Run(name+" again", func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, Apply(pod, "nsm-1", c))
			}
		})
	}
}

// Linux takes in packets to an IPv6 address a little later than it shows it.
func TestAddressesTakePacketsInWhenApplyReturns(t *testing.T) {
	pod := newPod(t)
	const name = "nsm-1"
	wire(t, pod, name, newPod(t), "peer")
	for i := range 200 {
		addr := netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1))
		require.NoError(t, Apply(pod, name, Config{MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(addr, 128)}}))
		require.NoError(t, netns.Do(pod, func() error {
			routes, err := netlink.RouteGet(addr.AsSlice())
			if err == nil && routes[0].Type != unix.RTN_LOCAL {
				err = fmt.Errorf("address %d: packets are not for the pod: %v", i, routes)
			}
			return err
		}))
	}
}
