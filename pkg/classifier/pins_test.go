// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

func deleteLink(name string) func() error {
	return func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}
}

func TestTheInterfaceIsDeleted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.attach(l.config())
	require.NoError(t, c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	attached, err := c.Attached()
	require.NoError(t, err)
	require.True(t, attached)

	l.node.do(t, deleteLink(uplinkName))
	attached, err = c.Attached()
	require.NoError(t, err)
	require.False(t, attached)
	require.NoError(t, c.ClosePinhole(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.NoError(t, c.Detach())
	require.NoDirExists(t, l.pinDir)
}

func TestPinsOfADeletedInterfaceAreRemoved(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	require.NoError(t, crash(l.attach(l.config())))
	l.node.do(t, deleteLink(uplinkName))
	_, err := l.tryAttach(l.config())
	require.ErrorAs(t, err, new(netlink.LinkNotFoundError))

	l.makeWire("other0")
	require.NoError(t, os.Mkdir(filepath.Join(l.pinDir, "stranger"), 0o700))
	c := l.attach(Config{Interface: "other0", PinDir: l.pinDir})
	require.ElementsMatch(t, []string{"other0", "stranger"}, names(t, l.pinDir))
	require.NoError(t, c.Detach())
	require.Equal(t, []string{"stranger"}, names(t, l.pinDir), "what others put there is theirs")
}

func TestAnInterfaceOfTheSameNameComesBack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	require.NoError(t, crash(l.attach(l.config())))
	l.node.do(t, deleteLink(uplinkName))
	l.makeWire(uplinkName)
	c := l.attach(l.config())
	require.Zero(t, count(t, c, "pass_no_pinhole"))
	require.Len(t, l.inspect(uplinkName).Programs, 1)
	l.requireTCP()
}

func TestTheInterfaceIsRenamed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	require.NoError(t, crash(l.attach(l.config())))
	before := pinnedLinkID(t, l)
	l.node.do(t, func() error {
		ln, err := netlink.LinkByName(uplinkName)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(ln), netlink.LinkSetName(ln, "up0.7"), netlink.LinkSetUp(ln))
	})
	c := l.attach(Config{Interface: "up0.7", PinDir: l.pinDir})
	require.Equal(t, []string{"up0%2e7"}, names(t, l.pinDir))
	info, err := c.link.Info()
	require.NoError(t, err)
	require.Equal(t, before, info.ID)
}

func TestPinsOfANamesakeInAnotherNamespaceAreLeftAlone(t *testing.T) {
	t.Parallel()
	l, other := newLab(t), newLab(t)
	first := l.attach(l.config())
	// The second veth is made the same way and so has the same index.
	require.Equal(t, first.Index(), other.inspect(uplinkName).Index)
	_, err := other.tryAttach(l.config())
	require.ErrorContains(t, err, "another network namespace")
	require.Empty(t, other.inspect(uplinkName).Programs)

	unpinned := other.attach(Config{Interface: uplinkName})
	_, err = other.tryAttach(l.config())
	require.ErrorContains(t, err, "another network namespace", "also if a program of our name is there")
	require.NoError(t, unpinned.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.NoError(t, first.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.NoError(t, first.Detach())
}

func TestPinsNeedABPFFileSystem(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg := l.config()
	cfg.PinDir = filepath.Join(t.TempDir(), "nsm")
	_, err := l.tryAttach(cfg)
	require.ErrorContains(t, err, "not on a bpffs")
	require.Empty(t, l.inspect(uplinkName).Programs)
}

func TestAStartThatWasInterruptedIsCleanedUp(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.attach(l.config())
	require.NoError(t, c.link.Detach())
	require.NoError(t, crash(c))
	dir := PinPath(l.pinDir, uplinkName)
	require.NoError(t, os.Remove(filepath.Join(dir, pinLink)))
	require.NoError(t, os.Remove(filepath.Join(dir, bpfMapPinholes)))
	l.attach(l.config())
	require.ElementsMatch(t, append([]string{pinLink}, mapNames...), names(t, dir))
}
