// SPDX-License-Identifier: Apache-2.0

package survivors_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/survivors"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// pods is a plane that joins nothing.
type pods struct {
	links []plane.Link
	fail  error
}

func (p *pods) Kinds(plane.Payload) []plane.Kind { return []plane.Kind{plane.KindKernel} }
func (p *pods) Links() []plane.Link              { return p.links }
func (p *pods) Close() error                     { return nil }

func (p *pods) Join(_ context.Context, c *plane.Connection) (plane.Link, error) {
	if p.fail != nil {
		return plane.Link{}, p.fail
	}
	l := plane.Link{ID: c.ID}
	p.links = append(p.links, l)
	return l, nil
}

func (p *pods) Leave(context.Context, string) error {
	p.links = nil
	return nil
}

func keep(t *testing.T, p plane.Plane, path string, grace time.Duration) *survivors.Plane {
	t.Helper()
	k, err := survivors.Keep(p, path, false, grace, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return k
}

// newPod makes a namespace with an interface in it, and a process.
func newPod(t *testing.T, name, alias string) plane.Kernel {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	path, remove, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, remove()) })
	require.NoError(t, netns.Do(path, func() error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer"}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		return netlink.LinkSetAlias(link, alias)
	}))
	pause := exec.Command("sleep", "60")
	require.NoError(t, netns.Do(path, pause.Start))
	t.Cleanup(func() {
		_ = pause.Process.Kill()
		_ = pause.Wait()
	})
	dev, ino, err := netns.Identity(path)
	require.NoError(t, err)
	return plane.Kernel{NetNS: path, Device: dev, Inode: ino, Name: name, Alias: alias}
}

func has(t *testing.T, k plane.Kernel) bool {
	t.Helper()
	err := netns.Do(k.NetNS, func() error {
		_, err := netlink.LinkByName(k.Name)
		return err
	})
	return err == nil
}

func TestTheFileFollowsTheLinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	p := &pods{}
	k := keep(t, p, path, time.Hour)
	c := &plane.Connection{ID: "c1", Client: plane.Kernel{Name: "a", Inode: 1}, Endpoint: plane.Kernel{Name: "b", Inode: 2}}
	_, err := k.Join(context.Background(), c)
	require.NoError(t, err)
	require.DirExists(t, path)
	require.NoError(t, k.Leave(context.Background(), "c1"))
	require.NoDirExists(t, path)

	_, err = k.Join(context.Background(), &plane.Connection{ID: "c2", Client: c.Client, Endpoint: plane.VXLAN{}})
	require.NoError(t, err)
	require.NoDirExists(t, path, "a tunnel's interfaces go with the process")

	p.links, p.fail = nil, errors.New("no memory")
	_, err = k.Join(context.Background(), c)
	require.ErrorContains(t, err, "no memory")
	require.NoDirExists(t, path, "a join that failed leaves nothing")
}

func TestOrphansAreRemovedUnlessJoinedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	left, back, taken := newPod(t, "nsm-1", "server-1"), newPod(t, "nsm-2", "server-2"), newPod(t, "nsm-3", "somebody else's")
	other := plane.Kernel{Name: "x", Inode: 1}
	killed := keep(t, &pods{}, path, time.Hour)
	recorded := taken
	recorded.Alias = "server-3"
	for id, end := range map[string]plane.Kernel{"left": left, "back": back, "taken": recorded} {
		_, err := killed.Join(context.Background(), &plane.Connection{ID: id, Client: end, Endpoint: other})
		require.NoError(t, err)
		other.Inode++
	}

	next := keep(t, &pods{}, path, 300*time.Millisecond)
	_, err := next.Join(context.Background(), &plane.Connection{ID: "healed", Client: back, Endpoint: other})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !has(t, left) }, 10*time.Second, 10*time.Millisecond)
	require.True(t, has(t, back))
	require.True(t, has(t, taken), "an interface with another alias is not ours")
	require.NoError(t, next.Close())
	require.Eventually(t, func() bool {
		_, err := os.Stat(path)
		return errors.Is(err, os.ErrNotExist)
	}, 10*time.Second, 10*time.Millisecond)
}

// devices is a plane whose tunnels outlive it, or are resumed.
type devices struct {
	*pods
	plane.Devices
	inProcess bool
	recalled  map[string]*plane.Connection
}

func (d *devices) Recall(c *plane.Connection)       { d.recalled[c.ID] = c }
func (d *devices) InProcess(*plane.Connection) bool { return d.inProcess }

func (d *devices) Forget(id string) error {
	delete(d.recalled, id)
	return nil
}

func newDevices() *devices { return &devices{pods: &pods{}, recalled: map[string]*plane.Connection{}} }

func TestTunnelsOfDevicesAreWrittenDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	left, moved, failed := newPod(t, "nsm-1", "server-1"), newPod(t, "nsm-2", "server-2"), newPod(t, "nsm-3", "server-3")
	killed := keep(t, newDevices(), path, time.Hour)
	for id, end := range map[string]plane.Kernel{"left": left, "moved": moved, "failed": failed} {
		_, err := killed.Join(context.Background(), &plane.Connection{ID: id, Client: plane.VXLAN{}, Endpoint: end})
		require.NoError(t, err)
	}

	p := newDevices()
	next := keep(t, p, path, 500*time.Millisecond)
	require.Len(t, p.recalled, 3)
	require.Equal(t, "server-1", p.recalled["left"].Client.(plane.Kernel).Alias)

	// A connection that leads to another pod has no use for the old interface.
	elsewhere := plane.Kernel{Name: "nsm-2", Inode: 1}
	_, err := next.Join(context.Background(), &plane.Connection{ID: "moved", Client: plane.VXLAN{}, Endpoint: elsewhere})
	require.NoError(t, err)
	require.False(t, has(t, moved))

	// One that cannot be joined again is removed like one that nobody asked for.
	p.links, p.fail = nil, errors.New("the uplink is down")
	_, err = next.Join(context.Background(), &plane.Connection{ID: "failed", Client: plane.VXLAN{}, Endpoint: failed})
	require.ErrorIs(t, err, p.fail)
	require.True(t, has(t, failed))
	require.Eventually(t, func() bool { return !has(t, failed) && !has(t, left) }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, next.Close())
	require.NoDirExists(t, path)
}

func TestLinksThatCloseLeavesUpStayWrittenDown(t *testing.T) {
	c := &plane.Connection{ID: "c1", Client: plane.Kernel{Name: "a", Inode: 1}, Endpoint: plane.Kernel{Name: "b", Inode: 2}}
	for _, kept := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "links")
		k, err := survivors.Keep(&pods{}, path, kept, time.Hour, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		_, err = k.Join(context.Background(), c)
		require.NoError(t, err)
		require.NoError(t, k.Close())
		_, err = os.Stat(path)
		require.Equal(t, kept, err == nil)
	}
}
