// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestForeignProgramsAreNamedAndLeftAlone(t *testing.T) {
	for _, tc := range []struct {
		name, program, owner string
		mode                 Mode
		attach               func(index int, p *ebpf.Program) error
	}{
		{"Cilium's", "cil_xdp_entry", "Cilium", Native, withLink(t, link.XDPDriverMode)},
		{"generic", "cil_xdp_entry", "Cilium", Generic, withLink(t, link.XDPGenericMode)},
		{"libxdp's by netlink", "xdp_dispatcher", "libxdp", Native, withNetlink(unix.XDP_FLAGS_DRV_MODE)},
		{"unknown by netlink", "stranger", "'stranger'", Generic, withNetlink(unix.XDP_FLAGS_SKB_MODE)},
		{"of our name, but not pinned", bpfProgNsmClassifier, "did not pin", Native, withLink(t, link.XDPDriverMode)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			p := passer(t, tc.program)
			index := l.inspect(uplinkName).Index
			l.node.do(t, func() error { return tc.attach(index, p) })
			before := l.inspect(uplinkName).Programs

			for _, mode := range []Mode{Auto, Native, Generic} {
				cfg := l.config()
				cfg.Mode = mode
				_, err := l.tryAttach(cfg)
				var foreign *ForeignProgramError
				require.ErrorAs(t, err, &foreign)
				require.Equal(t, tc.program, foreign.Program.Name)
				require.Equal(t, tc.mode, foreign.Program.Mode)
				require.Equal(t, uplinkName, foreign.Interface)
				require.Equal(t, before[0].ID, foreign.Program.ID)
				require.ErrorContains(t, err, tc.owner)
			}
			require.Equal(t, before, l.inspect(uplinkName).Programs)
			require.NoDirExists(t, l.pinDir)
		})
	}
}

func withLink(t *testing.T, flags link.XDPAttachFlags) func(int, *ebpf.Program) error {
	return func(index int, p *ebpf.Program) error {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: flags})
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}
}

func withNetlink(flags int) func(int, *ebpf.Program) error {
	return func(index int, p *ebpf.Program) error {
		l, err := netlink.LinkByIndex(index)
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFdWithFlags(l, p.FD(), flags)
	}
}

func TestAForeignProgramThatReplacedOurs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.attach(l.config())
	require.NoError(t, c.link.Detach())
	attached, err := c.Attached()
	require.NoError(t, err)
	require.False(t, attached)
	index := l.inspect(uplinkName).Index
	l.node.do(t, func() error { return withLink(t, link.XDPDriverMode)(index, passer(t, "stranger")) })

	_, err = l.tryAttach(l.config())
	var foreign *ForeignProgramError
	require.ErrorAs(t, err, &foreign)
	require.Equal(t, "stranger", foreign.Program.Name)
	require.Empty(t, names(t, l.pinDir), "pins of the detached link are removed")
}

func TestInspectTellsWhatTheDriverCan(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.inspect(uplinkName)
	require.Empty(t, s.Programs)
	if !s.Support.Known {
		t.Skip("kernel before 6.3 does not tell XDP features")
	}
	require.True(t, s.Support.Native)
	require.True(t, s.Support.Redirect)
	require.False(t, s.Support.ZeroCopy, "veth has none")
	lo := l.inspect("lo")
	require.False(t, lo.Support.Native)

	l.node.do(t, func() error {
		_, err := Inspect("nothing0")
		require.ErrorAs(t, err, new(netlink.LinkNotFoundError))
		return nil
	})
}
