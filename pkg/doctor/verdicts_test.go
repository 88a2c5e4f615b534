// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
)

// fit is a node on which everything is as it should be.
func fit() *facts {
	return &facts{
		release: "6.12.9-amd64", effective: 1<<41 - 1, memlock: 8 << 20, bpffs: "/sys/fs/bpf", isBPFFS: true,
		hugeFree: 4, hugeTotal: 8, transparentHuge: "madvise",
		uplink:   uplink.Location{Link: "eth0", Device: "eth0", Addr: netip.MustParseAddr("10.0.0.1"), Index: 2, MTU: 1500, Queues: 4},
		driver:   "ice",
		channels: uplink.Channels{RX: 4, TX: 4, Combined: 4},
		xdp: &classifier.Status{Interface: "eth0", Index: 2, Support: classifier.Support{
			Known: true, Native: true, Redirect: true, ZeroCopy: true, MultiBuffer: true,
		}},
	}
}

func check(t *testing.T, f *facts, name string) Check {
	t.Helper()
	for _, c := range judge(f).Checks {
		if c.Name == name {
			return c
		}
	}
	require.FailNow(t, "no check of this name", name)
	return Check{}
}

func TestFitNodePassesEverything(t *testing.T) {
	r := judge(fit())
	require.Equal(t, OK, r.Verdict)
	require.False(t, r.Failed())
	require.Len(t, r.Checks, len(checks))
	for _, c := range r.Checks {
		require.Equal(t, OK, c.Status, "%+v", c)
		require.NotEmpty(t, c.Found)
		require.Empty(t, c.Advice, "%s: advice without need", c.Name)
	}
}

func TestVerdicts(t *testing.T) {
	errno := func(e error) error { return fmt.Errorf("do it: %w", e) }
	without := func(bits ...uint) func(*facts) {
		return func(f *facts) {
			for _, b := range bits {
				f.effective &^= 1 << b
			}
		}
	}
	program := func(name string) func(*facts) {
		return func(f *facts) { f.xdp.Programs = []classifier.Program{{ID: 7, Mode: classifier.Native, Name: name}} }
	}
	for _, c := range []struct {
		name   string
		change func(*facts)
		check  string
		status Status
		says   string // in what was found or advised
	}{
		{"a kernel without BPF links", func(f *facts) { f.release = "5.8.0-53-generic" }, "kernel", Fail, "5.9"},
		{"the oldest kernel", func(f *facts) { f.release = "5.9" }, "kernel", OK, "5.9"},
		{"a release of letters", func(f *facts) { f.release = "next" }, "kernel", Skip, "next"},
		{"no right to make interfaces", without(unix.CAP_NET_ADMIN), "capabilities", Fail, "NET_ADMIN to make interfaces"},
		{"no right to be quick", without(unix.CAP_IPC_LOCK), "capabilities", Warn, "IPC_LOCK"},
		{"no BPF right, but the one before it", without(unix.CAP_BPF, unix.CAP_PERFMON), "capabilities", OK, "all"},
		{"neither of them", without(unix.CAP_BPF, unix.CAP_SYS_ADMIN), "capabilities", Fail, "SYS_ADMIN, BPF"},
		{"capabilities not told", func(f *facts) { f.effErr = errors.New("no proc") }, "capabilities", Skip, "no proc"},
		{"no XDP programs", func(f *facts) { f.lab.program = errno(ebpf.ErrNotSupported) }, "BPF", Fail, "CONFIG_BPF"},
		{"no socket maps", func(f *facts) { f.lab.sockets = errno(unix.EINVAL) }, "BPF", Fail, "CONFIG_XDP_SOCKETS"},
		{"BPF is forbidden", func(f *facts) { f.lab.program = errno(unix.EPERM) }, "BPF", Fail, "seccomp"},
		{"no namespace to try in", func(f *facts) { f.lab = lab{err: errno(unix.EPERM), program: errNotTried} }, "BPF", Skip, "could not be tried"},
		{"what needs the failed", func(f *facts) { f.lab.afxdp = errNotTried }, "AF_XDP", Skip, "failed before"},
		{"no native XDP at all", func(f *facts) { f.lab.native = errno(unix.EOPNOTSUPP) }, "XDP", Warn, "generic: works"},
		{"no XDP links", func(f *facts) { f.lab.native, f.lab.generic = errno(unix.EINVAL), errno(unix.EINVAL) }, "XDP", Fail, "5.9"},
		{"no veth", func(f *facts) {
			f.lab.native, f.lab.generic, f.lab.veth = errNotTried, errNotTried, errno(unix.EOPNOTSUPP)
		}, "XDP", Fail, "veth"},
		{"no AF_XDP", func(f *facts) { f.lab.afxdp = errno(unix.EAFNOSUPPORT) }, "AF_XDP", Fail, "CONFIG_XDP_SOCKETS"},
		{"no large frames", func(f *facts) { f.lab.frags = errno(unix.EINVAL) }, "multi-buffer", Warn, "3498"},
		{"no uplink", func(f *facts) { f.uplinkErr = errors.New("find uplink: eth0 is down") }, "uplink", Fail, "eth0 is down"},
		{"no uplink to look at", func(f *facts) { f.uplinkErr = errors.New("no") }, "queues", Skip, "no uplink"},
		{"a VLAN uplink", func(f *facts) { f.uplink.Link, f.uplink.VLAN = "eth0.7", []uint16{7} }, "uplink", OK, "VLAN [7] on eth0"},
		{"a driver with generic XDP only", func(f *facts) { f.xdp.Support.Native = false }, "XDP on the uplink", Warn, "generic only (the driver says)"},
		{"a driver that cannot redirect", func(f *facts) { f.xdp.Support.Redirect = false }, "XDP on the uplink", Warn, "generic only"},
		{"an old kernel and a known driver", func(f *facts) { f.xdp.Support = classifier.Support{} }, "XDP on the uplink", OK, "resets the link"},
		{"an old kernel and a slow driver", func(f *facts) { f.xdp.Support, f.driver = classifier.Support{}, "e1000" }, "XDP on the uplink", Warn, "generic only"},
		{"an old kernel and a new driver", func(f *facts) { f.xdp.Support, f.driver = classifier.Support{}, "fancy" }, "XDP on the uplink", Skip, "--attach"},
		{"a bond", func(f *facts) { f.xdp.Support.Native, f.driver = false, "bonding" }, "XDP on the uplink", Warn, "a port of the bond"},
		{"tried and works", func(f *facts) { f.attach = &attachment{} }, "XDP on the uplink", OK, "tried"},
		{"tried and fails", func(f *facts) { f.attach = &attachment{native: errno(unix.ERANGE)} }, "XDP on the uplink", Warn, "failed"},
		{"Cilium's program", program("cil_xdp_entry"), "other XDP program", Fail, "loadBalancer.acceleration"},
		{"somebody's program", program("drop_all"), "other XDP program", Fail, "'drop_all'"},
		{"our own program", program("nsm_classifier"), "other XDP program", OK, "our own"},
		{"not to be looked at", func(f *facts) { f.xdp, f.xdpErr = nil, errors.New("gone") }, "other XDP program", Skip, "gone"},
		{"no zero copy", func(f *facts) { f.xdp.Support.ZeroCopy = false }, "zero copy", Warn, "copied once"},
		{"zero copy of an old kernel", func(f *facts) { f.xdp.Support = classifier.Support{} }, "zero copy", OK, "of this name"},
		{"zero copy of an unknown driver", func(f *facts) { f.xdp.Support, f.driver = classifier.Support{}, "fancy" }, "zero copy", Warn, "fancy"},
		{"zero copy that was refused", func(f *facts) { f.attach = &attachment{zeroCopy: errno(unix.EOPNOTSUPP)} }, "zero copy", Warn, "tried and failed"},
		{"too many queues", func(f *facts) { f.uplink.Queues = 1025 }, "queues", Fail, "ethtool -L eth0 combined 1024"},
		{"queues that cannot send", func(f *facts) { f.channels.TX = 2 }, "queues", Warn, "cannot send"},
		{"channels not counted", func(f *facts) { f.channels, f.channelsErr = uplink.Channels{}, unix.EOPNOTSUPP }, "queues", OK, "4 for receiving"},
		{"an IPv4 uplink of 1500", func(*facts) {}, "MTU", OK, "1446 over VXLAN, 1440 over WireGuard"},
		{"an IPv6 uplink of 1500", func(f *facts) { f.uplink.Addr = netip.MustParseAddr("2001:db8::1") }, "MTU", OK, "1426 over VXLAN, 1420 over WireGuard"},
		{"large enough for IPv6 in pods", func(f *facts) { f.uplink.MTU = 1340 }, "MTU", OK, "1286 over VXLAN, 1280 over WireGuard"},
		{"large enough with fragments", func(f *facts) { f.uplink.MTU = 1339 }, "MTU", Warn, "raise the MTU of eth0 to 1340"},
		{"just large enough with fragments", func(f *facts) { f.uplink.MTU = 1280 }, "MTU", Warn, "1280; pods get 1280 over VXLAN, 1280 over WireGuard, the largest packets in two fragments"},
		{"too small for IPv6 in pods", func(f *facts) { f.uplink.MTU = 1279 }, "MTU", Warn, "raise the MTU of eth0 to 1280"},
		{"jumbo frames with multi-buffer", func(f *facts) { f.uplink.MTU = 9000 }, "MTU", OK, "9000, of which tunnels use 3818; pods get 3764 over VXLAN, 3758 over WireGuard (with NSM_FORWARDING_PLANE=kernel 8946, 8940)"},
		{"jumbo frames without", func(f *facts) { f.uplink.MTU, f.xdp.Support.MultiBuffer = 9000, false }, "MTU", Warn, "to 3498"},
		{"jumbo frames of a driver with its own limit", func(f *facts) { f.uplink.MTU, f.driver, f.xdp.Support.MultiBuffer = 9000, "ena", false }, "MTU", Warn, "to 3502"},
		{"tags that stay on", func(*facts) {}, "VLAN tags", OK, "stay"},
		{"tags that can be left on", func(f *facts) { f.tags = tagStripping{on: true} }, "VLAN tags", OK, "turns that off"},
		{"tags that are always taken off", func(f *facts) { f.tags = tagStripping{true, true} }, "VLAN tags", Warn, "NSM_TUNNEL_IP"},
		{"features not told", func(f *facts) { f.tagsErr = unix.EOPNOTSUPP }, "VLAN tags", Skip, "not supported"},
		{"little locked memory", without(unix.CAP_IPC_LOCK), "locked memory", Fail, "64.0 MiB"},
		{"enough locked memory", func(f *facts) { without(unix.CAP_IPC_LOCK)(f); f.memlock = 64 << 20 }, "locked memory", OK, "64.0 MiB"},
		{"enough, were maps not charged as well", func(f *facts) { without(unix.CAP_IPC_LOCK)(f); f.memlock, f.release = 64<<20, "5.10.0" }, "locked memory", Fail, "IPC_LOCK"},
		{"boundless locked memory", func(f *facts) { without(unix.CAP_IPC_LOCK)(f); f.memlock = unix.RLIM_INFINITY }, "locked memory", OK, "not limited"},
		{"no bpffs yet", func(f *facts) { f.isBPFFS = false }, "BPF file system", Warn, "mounts one"},
		{"no bpffs and no right", func(f *facts) { f.isBPFFS = false; without(unix.CAP_SYS_ADMIN)(f) }, "BPF file system", Fail, "may not"},
		{"no huge pages of either kind", func(f *facts) { f.hugeFree, f.transparentHuge = 0, "never" }, "huge pages", Warn, "nr_hugepages=32"},
		{"transparent huge pages", func(f *facts) { f.hugeFree = 0 }, "huge pages", OK, "madvise"},
		{"no tun", func(f *facts) { f.lab.tap = errno(unix.ENOENT) }, "TAP devices", Fail, "module tun"},
		{"namespaces out of reach", func(f *facts) { f.lab.err = errno(unix.EPERM) }, "pod namespaces", Fail, "capabilities"},
		{"settings out of reach", func(f *facts) { f.lab.sysctl = errno(unix.EROFS) }, "pod namespaces", Warn, "/proc/sys"},
		{"no VXLAN device", func(f *facts) { f.lab.vxlan = errno(unix.EOPNOTSUPP) }, "VXLAN device", Warn, "module vxlan"},
		{"no WireGuard device", func(f *facts) { f.lab.wireguard = errno(unix.EOPNOTSUPP) }, "WireGuard device", Warn, "module wireguard"},
		{"no VLAN device", func(f *facts) { f.lab.vlan = errno(unix.EOPNOTSUPP) }, "VLAN device", Warn, "module 8021q"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fit()
			c.change(f)
			got := check(t, f, c.check)
			require.Equal(t, c.status, got.Status, "%+v", got)
			require.Contains(t, got.Found+" "+got.Advice, c.says)
			if got.Status == Fail || got.Status == Warn {
				require.NotEmpty(t, got.Advice, "%s says not what to do", got.Name)
			}
		})
	}
}

func TestVerdictIsTheWorst(t *testing.T) {
	f := fit()
	f.lab.wireguard = unix.EOPNOTSUPP
	require.Equal(t, Warn, judge(f).Verdict)
	f.uplinkErr = errors.New("no uplink")
	require.Equal(t, Fail, judge(f).Verdict)
	require.True(t, judge(f).Failed())
}

func TestReportIsReadable(t *testing.T) {
	f := fit()
	f.uplinkErr = errors.New("find uplink:\n\teth0 is down")
	r := judge(f)
	var table, document bytes.Buffer
	require.NoError(t, r.WriteTable(&table))
	require.Regexp(t, `(?m)^uplink +fail +find uplink: eth0 is down$`, table.String())
	require.Regexp(t, `(?m)^ +-> NSM_TUNNEL_IP must be`, table.String())
	require.Contains(t, table.String(), "This node cannot run the forwarder")
	require.NoError(t, r.WriteJSON(&document))
	var back Report
	require.NoError(t, json.Unmarshal(document.Bytes(), &back))
	require.Equal(t, r, back)
	require.Error(t, r.WriteTable(broken{}))
	require.Error(t, r.WriteJSON(broken{}))
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }
