// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	ebpflink "github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
)

func TestForwarderSaysWhyItCannotStart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		env     map[string]string
		prepare func(*testing.T, *lab.Lab)
		want    string
		// check looks at what must not have been disturbed.
		check func(*testing.T, *lab.Node)
	}{
		{
			name: "tunnel address is not on the node",
			env:  map[string]string{"NSM_TUNNEL_IP": "10.99.0.77"},
			want: "no interface has the tunnel address 10.99.0.77: set NSM_TUNNEL_IP to an address of this node (10.99.0.1)",
		},
		{
			name: "no default route and no tunnel address",
			env:  map[string]string{"NSM_TUNNEL_IP": ""},
			want: "there is no default route",
		},
		{
			name:    "uplink is down",
			prepare: func(t *testing.T, l *lab.Lab) { setDown(t, l.Nodes[0]) },
			want:    "eth0 is down: bring it up",
		},
		{
			name:    "uplink has no carrier",
			prepare: func(t *testing.T, l *lab.Lab) { setDown(t, l.Nodes[1]) },
			want:    "eth0 has no carrier",
		},
		{
			name:    "another XDP program is there",
			prepare: attachForeign,
			want:    "foreign_pass",
			check: func(t *testing.T, n *lab.Node) {
				xdp := linkIn(t, n.Namespace, lab.UplinkName).Xdp
				require.True(t, xdp != nil && xdp.Attached, "the other program is still attached")
			},
		},
		{
			name: "no privileges",
			prepare: func(_ *testing.T, l *lab.Lab) {
				l.Nodes[0].Forwarder.Wrap = []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}
			},
			want: "CAP_",
		},
		{
			name: "state file cannot be read",
			env:  map[string]string{"NSM_STATE_FILE": "/proc/self/mem/settings.json"},
			want: "NSM_STATE_FILE",
		},
		{
			name: "unknown plane",
			env:  map[string]string{"NSM_FORWARDING_PLANE": "magic"},
			want: `NSM_FORWARDING_PLANE="magic"`,
		},
		{
			name: "tunnel address does not parse",
			env:  map[string]string{"NSM_TUNNEL_IP": "10.99.0"},
			want: "NSM_TUNNEL_IP",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, lab.Config{Planes: embeddedBoth})
			n := l.Nodes[0]
			ctx := within(t, 10*time.Second)
			require.NoError(t, l.StartRegistry(ctx))
			require.NoError(t, n.StartNSMgr(ctx))
			require.NoError(t, n.PrepareForwarder(tc.env))
			if tc.prepare != nil {
				tc.prepare(t, l)
			}
			require.NoError(t, n.Forwarder.Start())
			requireRefused(t, n.Forwarder, tc.want)
			pins, err := filepath.Glob(filepath.Join(n.BPFFS(), "nsm*", "*"))
			require.NoError(t, err)
			require.Empty(t, pins)
			require.Equal(t, []string{lab.UplinkName}, interfaces(t, n.Namespace))
			if tc.check != nil {
				tc.check(t, n)
				return
			}
			xdp := linkIn(t, n.Namespace, lab.UplinkName).Xdp
			require.True(t, xdp == nil || !xdp.Attached, "an XDP program is left on the uplink")
		})
	}
}

func setDown(t *testing.T, n *lab.Node) {
	t.Helper()
	require.NoError(t, netns.Do(n.Path, func() error {
		uplink, err := netlink.LinkByName(lab.UplinkName)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(uplink)
	}))
}

// attachForeign puts an XDP program that passes everything on the first node's
// uplink.
func attachForeign(t *testing.T, l *lab.Lab) {
	t.Helper()
	const pass = 2
	require.NoError(t, rlimit.RemoveMemlock())
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "foreign_pass", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, pass), asm.Return()},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	require.NoError(t, netns.Do(l.Nodes[0].Path, func() error {
		attached, err := ebpflink.AttachXDP(ebpflink.XDPOptions{
			Program: program, Interface: linkIn(t, l.Nodes[0].Namespace, lab.UplinkName).Index,
		})
		if err == nil {
			t.Cleanup(func() { _ = attached.Close() })
		}
		return err
	}))
}

// requireRefused waits for the end of a program that cannot go on, and for what
// it says last.
func requireRefused(t *testing.T, p *lab.Process, want string) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatalf("%s still runs", p.Name)
	}
	require.Error(t, p.Err(), "exit code")
	last := p.Tail(1)
	t.Log(last)
	require.Contains(t, last, want)
}

func TestClientAndEndpointRefuseNonsense(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Config{})
	n := l.Nodes[0]
	for name, tc := range map[string]struct{ request, want string }{
		"interface name too long": {"kernel://service/sixteen-bytes-xx", "longer than 15 characters"},
		"unknown mechanism":       {"carrierpigeon://service/nsm-1", "this client has kernel and memif"},
		"no service":              {"kernel:///nsm-1", "no network service"},
		"nothing to connect to":   {"", "NSM_NETWORK_SERVICES"},
	} {
		t.Run(name, func(t *testing.T) {
			nsc, err := n.StartClient("nsc", tc.request, nil)
			require.NoError(t, err)
			requireRefused(t, nsc.Process, tc.want)
			require.NoError(t, l.RemovePod(nsc.Pod))
		})
	}
	for name, tc := range map[string]struct {
		service lab.Service
		want    string
	}{
		"CIDR does not parse": {lab.Service{Name: "s", Payload: "IP", CIDR: "300.1.2.3/24"}, "NSM_CIDR_PREFIX"},
		"unknown payload":     {lab.Service{Name: "s", Payload: "SMOKE", CIDR: cidr}, `NSM_PAYLOAD="SMOKE"`},
	} {
		t.Run(name, func(t *testing.T) {
			nse, err := n.StartEndpoint(within(t, 5*time.Second), "nse", tc.service, nil)
			require.Error(t, err)
			requireRefused(t, nse.Process, tc.want)
			require.NoError(t, l.RemovePod(nse.Pod))
		})
	}
}

// awaitRefusal waits until a client has logged why its request failed.
func awaitRefusal(t *testing.T, nsc *lab.Client, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, nsc.Await(ctx, "refused: "+want, func() bool { return nsc.LogContains(want) }))
}

func TestRequestsThatCannotBeServedDisturbNothing(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{Planes: embeddedBoth})
	k := link(t, l, vxlanCase)
	before := []int{len(statusOf(t, l.Nodes[0]).Pinholes), len(statusOf(t, l.Nodes[1]).Pinholes)}
	requireUndisturbed := func(t *testing.T) {
		t.Helper()
		k.requirePing(t)
		for i, n := range l.Nodes {
			eventually(t, 5*time.Second, "what failed is undone", func() bool {
				s := statusOf(t, n)
				return len(s.Links) == 1 && len(s.Pinholes) == before[i] && len(s.Hops) == 1
			})
			require.Equal(t, []string{lab.UplinkName}, interfaces(t, n.Namespace))
		}
	}

	t.Run("service does not exist", func(t *testing.T) {
		nsc, err := l.Nodes[0].StartClient("nsc-lost", "kernel://no-such-service/nsm-1", nil)
		require.NoError(t, err)
		awaitRefusal(t, nsc, "no-such-service")
		require.Empty(t, links(t, nsc.Pod))
		require.NoError(t, nsc.Stop(5*time.Second))
		requireUndisturbed(t)
	})
	for _, u := range []useCase{localCase, vxlanCase, wgCase} {
		t.Run("interface name is taken in "+u.name, func(t *testing.T) {
			u.name = "taken-" + u.name
			nse := startEndpoint(t, l, u)
			nsc, err := l.Nodes[0].PrepareClient("nsc-"+u.name, "kernel://"+u.name+"/nsm-1", nil)
			require.NoError(t, err)
			require.NoError(t, netns.Do(nsc.Pod.Path, func() error {
				return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "nsm-1"}, PeerName: "other"})
			}))
			require.NoError(t, nsc.Start())
			awaitRefusal(t, nsc, "an interface of this name is there already")
			require.NoError(t, nsc.Stop(5*time.Second))
			require.Equal(t, []string{"nsm-1", "other"}, interfaces(t, nsc.Pod), "the other interface is still there")
			eventually(t, 5*time.Second, "the endpoint's interface is gone", func() bool { return len(links(t, nse.Pod)) == 0 })
			require.NoError(t, nse.Stop(5*time.Second))
			requireUndisturbed(t)
		})
	}
}

func TestUplinkTooSmallForTheTunnel(t *testing.T) {
	t.Parallel()
	// 600 bytes less the tunnel's headers are below the 576 that IPv4 wants.
	l := startLab(t, lab.Config{MTU: 600})
	for _, u := range []useCase{vxlanCase, wgCase} {
		nse := startEndpoint(t, l, u)
		nsc := startClient(t, l, u)
		awaitRefusal(t, nsc, "MTU")
		require.NoError(t, nsc.Stop(5*time.Second))
		requireNothingLeft(t, l, nsc.Pod, nse.Pod)
		require.NoError(t, nse.Stop(5*time.Second))
	}
}

// An underlay that IPv6 could not use itself leaves none for IPv6 inside of a tunnel
// (RFC 8200, section 5); IPv4 goes on as long as it can.
func TestUplinkTooSmallForIPv6InTheTunnel(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{MTU: 1279})
	c, err := usecase.Find("Kernel2IP2Kernel_ipv6")
	require.NoError(t, err)
	k, err := l.Link(within(t, 30*time.Second), c, lab.Calm())
	require.NoError(t, err)
	refusal := regexp.MustCompile(`MTU \d+.* IPv6.* 1280`)
	require.NoError(t, k.Client.Await(within(t, 30*time.Second), "refused", func() bool { return refusal.MatchString(k.Client.Tail(30)) }))
	require.NoError(t, k.Client.Stop(10*time.Second))
	require.NoError(t, k.Endpoint.Stop(10*time.Second))
	link(t, l, wgCase).requirePing(t)
}

func TestUplinkGoesDownAndComesBack(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{Planes: embeddedBoth})
	k := link(t, l, vxlanCase)
	n := l.Nodes[0]
	setDown(t, n)
	eventually(t, 5*time.Second, "the forwarder says so", func() bool {
		hops := statusOf(t, n).Hops
		return len(hops) == 1 && !hops[0].Valid && hops[0].Why == "uplink eth0 is down"
	})
	require.NoError(t, netns.Do(n.Path, func() error {
		uplink, err := netlink.LinkByName(lab.UplinkName)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(uplink)
	}))
	eventually(t, 10*time.Second, "the connection works again", func() bool { return k.answers(t, endpointAddr) })
}

func TestBPFFSIsMountedAndUnmounted(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Config{})
	n := l.Nodes[0]
	ctx := within(t, 10*time.Second)
	require.NoError(t, l.StartRegistry(ctx))
	require.NoError(t, n.StartNSMgr(ctx))
	dir := filepath.Join(n.Dir, "no-bpffs-yet")
	require.NoError(t, n.StartForwarder(ctx, map[string]string{"NSM_BPF_FS": dir}))
	settings := statusOf(t, n).Settings
	require.Len(t, settings, 1)
	require.Equal(t, "bpffs", settings[0].Kind)
	require.Equal(t, dir, settings[0].Target)
	state := filepath.Join(n.Dir, "forwarder.state")
	require.FileExists(t, state)
	require.NoError(t, n.Forwarder.Stop(10*time.Second))
	require.NoFileExists(t, state, "the mount was put back")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
