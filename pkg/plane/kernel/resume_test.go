// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
)

const (
	// resumeWithin is how long packets may be lost after the start of a process,
	// on a busy machine.
	resumeWithin = 5 * time.Second
	// restartTime is less than a process takes to start. WireGuard's peers take one
	// initiation in 20 ms, and tell two of wireguard-go apart by their time if
	// 17 ms are between them.
	restartTime = 50 * time.Millisecond
)

// recalled is node i's connection of a pair as it was written down.
func (c *pair) recalled(t *testing.T, i int, addrs [2]netip.Addr) *plane.Connection {
	t.Helper()
	pod := c.pods[i].port(t, "nsm-1")
	conn := &plane.Connection{ID: fmt.Sprint("pod-", i), Payload: plane.IP, Client: pod, Endpoint: guarded(i, 1, addrs, i == 0)}
	if i == 1 {
		conn.Client, conn.Endpoint = conn.Endpoint, conn.Client
	}
	return conn
}

// conversation is a TCP connection between two pods.
type conversation struct{ ends [2]net.Conn }

func converse(t *testing.T, from, to *namespace, addr string) *conversation {
	t.Helper()
	var listener net.Listener
	require.NoError(t, netns.Do(to.path, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	}))
	defer listener.Close()
	c := &conversation{}
	require.NoError(t, netns.Do(from.path, func() (err error) {
		c.ends[0], err = net.Dial("tcp", listener.Addr().String())
		return err
	}))
	var err error
	c.ends[1], err = listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.ends[0].Close(); _ = c.ends[1].Close() })
	c.goesOn(t)
	return c
}

// goesOn has both ends say something.
func (c *conversation) goesOn(t *testing.T) {
	t.Helper()
	said := bytes.Repeat([]byte("still there? "), 1000)
	for i, from := range c.ends {
		_ = from.SetDeadline(time.Now().Add(20 * time.Second))
		_ = c.ends[1-i].SetDeadline(time.Now().Add(20 * time.Second))
		_, err := from.Write(said)
		require.NoError(t, err)
		heard := make([]byte, len(said))
		_, err = io.ReadFull(c.ends[1-i], heard)
		require.NoError(t, err)
		require.Equal(t, said, heard)
	}
}

// answers pings until there is an answer, and tells when there was.
func (n *namespace) answers(t *testing.T, to string, limit time.Duration) time.Duration {
	t.Helper()
	started := time.Now()
	require.Eventually(t, func() bool {
		return n.command("ping", "-n", "-q", "-c", "1", "-W", "0.2", to).Run() == nil
	}, limit, time.Millisecond)
	return time.Since(started)
}

// Tunnels of wireguard-go end with their process, whichever end that is. The next
// process resumes them before anybody asks, and pods keep all that they have.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs [2]netip.Addr
		nodes []int
		end   func(*Plane) error
	}{
		{"of the end that had initiated", addrs4, []int{0}, nil},
		{"of the other end", addrs4, []int{1}, nil},
		{"of both ends", addrs4, []int{0, 1}, nil},
		{"of both ends, over IPv6", addrs6, []int{1, 0}, nil},
		{"after Close with KeepLinks", addrs4, []int{0}, (*Plane).Close},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUnderlay(t)
			keep := func(cfg *Config) { cfg.KeepLinks = true }
			planes := [2]*Plane{u.start(t, 0, c.addrs, userspace, keep), u.start(t, 1, c.addrs, userspace, keep)}
			k := connect(t, [2]plane.Plane{planes[0], planes[1]}, c.addrs, plane.IP, 1)
			k.pods[0].ping(t, "10.7.0.2")
			talk := converse(t, k.pods[0], k.pods[1], "10.7.0.2")
			indices := [2]int{k.pods[0].index(t, "nsm-1"), k.pods[1].index(t, "nsm-1")}

			for _, i := range c.nodes {
				if c.end != nil {
					require.NoError(t, c.end(planes[i]))
				} else {
					planes[i].forgetAll()
				}
				require.Contains(t, k.pods[i].run(t, "ip", "addr", "show", "nsm-1"), fmt.Sprintf("10.7.0.%d/24", i+1))
			}
			time.Sleep(restartTime)
			for _, i := range c.nodes {
				planes[i] = u.start(t, i, c.addrs, userspace)
				require.True(t, planes[i].InProcess(k.recalled(t, i, c.addrs)))
				planes[i].Recall(k.recalled(t, i, c.addrs))
			}
			t.Logf("answered %v after the start", k.pods[0].answers(t, "10.7.0.2", resumeWithin))
			k.pods[1].answers(t, "fd07::1", resumeWithin)
			talk.goesOn(t)

			// Then somebody asks.
			stop := watchedPing(t, k.pods[0], "10.7.0.2")
			for _, i := range c.nodes {
				conn := k.recalled(t, i, c.addrs)
				link := planes[i].Links()[0]
				require.Equal(t, conn.ID, link.ID)
				require.Equal(t, "wireguard-go, resumed", link.Path)
				left := planes[i].Left(conn.ID)
				require.Equal(t, guarded(i, 1, c.addrs, i == 0), left)
				link, err := planes[i].Join(t.Context(), conn)
				require.NoError(t, err)
				require.Equal(t, "wireguard-go", link.Path)
			}
			stop()
			talk.goesOn(t)
			for i, p := range planes {
				require.Equal(t, indices[i], k.pods[i].index(t, "nsm-1"))
				require.NoError(t, p.Leave(t.Context(), fmt.Sprint("pod-", i)))
				require.Empty(t, k.pods[i].links(t))
				require.Empty(t, p.hubs.all)
			}
		})
	}
}

// A pod that says nothing is reached again. Its end begins, though it was not to
// begin the first time: the peer goes on to use the session that is lost.
func TestResumeOfASilentPod(t *testing.T) {
	u := newUnderlay(t)
	planes := [2]*Plane{u.start(t, 0, addrs4, userspace), u.start(t, 1, addrs4, userspace)}
	k := connect(t, [2]plane.Plane{planes[0], planes[1]}, addrs4, plane.IP, 1)
	k.pods[0].ping(t, "10.7.0.2")
	// Neighbour discovery would speak up when the carrier is back.
	k.pods[1].run(t, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
	planes[1].forgetAll()
	time.Sleep(restartTime)
	u.start(t, 1, addrs4, userspace).Recall(k.recalled(t, 1, addrs4))
	k.pods[0].answers(t, "10.7.0.2", resumeWithin)
}

// A connection that nobody asks for again, and one that leads elsewhere, leave
// nothing.
func TestLeaveWhatWasResumed(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4, userspace)
	pod := newNamespace(t)
	conn := &plane.Connection{ID: "c1", Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: guarded(0, 1, addrs4, false)}
	fds := len(descriptors(t))
	for name, end := range map[string]func(*testing.T, *plane.Connection){
		"Leave": func(t *testing.T, _ *plane.Connection) { require.NoError(t, p.Leave(t.Context(), "c1")) },
		"Forget, and another connection": func(t *testing.T, conn *plane.Connection) {
			index := pod.index(t, "nsm-1")
			require.NoError(t, p.Forget("c1"))
			pristineBut(t, p, pod, "nsm-1")
			conn.ID, conn.Endpoint = "c2", guarded(0, 2, addrs4, false)
			_, err := p.Join(t.Context(), conn)
			require.NoError(t, err)
			require.Equal(t, index, pod.index(t, "nsm-1"), "it takes the interface over")
			require.NoError(t, p.Forget("c2"))
			require.Len(t, p.Links(), 1, "somebody has asked for it")
			require.NoError(t, p.Leave(t.Context(), "c2"))
		},
		"Join of another tunnel": func(t *testing.T, conn *plane.Connection) {
			index := pod.index(t, "nsm-1")
			conn.Endpoint = guarded(0, 2, addrs4, false)
			_, err := p.Join(t.Context(), conn)
			require.NoError(t, err)
			require.NotEqual(t, index, pod.index(t, "nsm-1"))
			require.NoError(t, p.Leave(t.Context(), "c1"))
		},
		"Join without an answer": func(t *testing.T, conn *plane.Connection) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := p.Join(ctx, conn)
			require.ErrorContains(t, err, "no valid answer")
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Join(t.Context(), conn)
			require.NoError(t, err)
			p.forgetAll()
			require.Equal(t, []string{"nsm-1"}, pod.links(t))
			recalled := *conn
			recalled.Endpoint = guarded(0, 1, addrs4, true)
			p.Recall(&recalled)
			require.Len(t, p.Links(), 1)
			end(t, &recalled)
			pristine(t, p, fds, u.nodes[0], pod)
			require.Nil(t, p.Left("c1"))
		})
	}
}

// pristineBut fails the test unless a plane holds nothing, and an interface is left
// in the pod.
func pristineBut(t *testing.T, p *Plane, pod *namespace, name string) {
	t.Helper()
	require.Empty(t, p.Links())
	require.Empty(t, p.claims)
	require.Empty(t, p.hubs.all)
	require.Equal(t, []string{name}, pod.links(t))
}

// What cannot be resumed stays as it was, for the Join that comes.
func TestFailedStepsOfResume(t *testing.T) {
	u := newUnderlay(t)
	var steps []string
	failing := -1
	p := u.start(t, 0, addrs4, userspace, func(cfg *Config) {
		cfg.fail = func(step string) error {
			steps = append(steps, step)
			if len(steps)-1 == failing {
				return errors.New("made to fail")
			}
			return nil
		}
	})
	pod := newNamespace(t)
	conn := &plane.Connection{ID: "c1", Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: guarded(0, 1, addrs4, false)}
	fds := len(descriptors(t))
	_, err := p.Join(t.Context(), conn)
	require.NoError(t, err)
	index := pod.index(t, "nsm-1")
	p.forgetAll()
	steps = nil
	p.Recall(conn)
	all := steps
	require.Equal(t, []string{"hub", "adopt", "configure", "tunnel", "handshake"}, all)
	for i, step := range all {
		p.forgetAll()
		failing, steps = i, nil
		p.Recall(conn)
		pristineBut(t, p, pod, "nsm-1")
		require.LessOrEqual(t, len(descriptors(t)), fds, step)
		require.Equal(t, index, pod.index(t, "nsm-1"), step)
	}
	failing = -1
	require.NotNil(t, p.Left("c1"))
	_, err = p.Join(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, index, pod.index(t, "nsm-1"), "Join takes the device over as well")
	require.NoError(t, p.Leave(t.Context(), "c1"))
	pristine(t, p, fds, u.nodes[0], pod)
}

// A pod may do what it likes with its devices while there is no forwarder. We take
// back what is ours and leave alone what is not, and the next Join works or says
// why not.
func TestResumeInAPodThatChangedItsDevice(t *testing.T) {
	// hold keeps a descriptor of a TUN device in the pod, which is made with more
	// flags if it is not there.
	hold := func(t *testing.T, pod *namespace, flags uint16) int {
		t.Helper()
		var fd int
		require.NoError(t, netns.Do(pod.path, func() (err error) {
			if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR, 0); err != nil {
				return err
			}
			ifr, err := unix.NewIfreq("nsm-1")
			require.NoError(t, err)
			ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | flags)
			return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}))
		return fd
	}
	ip := func(t *testing.T, pod *namespace, all ...[]string) {
		t.Helper()
		for _, args := range all {
			pod.run(t, "ip", args...)
		}
	}
	remove := []string{"link", "del", "nsm-1"}
	alias := []string{"link", "set", "nsm-1", "alias", "test nsm-1"}
	for _, c := range []struct {
		name   string
		change func(*testing.T, *namespace)
		// resumed: the tunnel goes on all the same.
		resumed bool
		// joins is what the next Join says, nil if it works.
		joins error
	}{
		{"nothing", func(*testing.T, *namespace) {}, true, nil},
		{"it is down, and of another MTU", func(t *testing.T, pod *namespace) {
			ip(t, pod, []string{"link", "set", "nsm-1", "down", "mtu", "600"})
		}, true, nil},
		{"header of another length and byte order", func(t *testing.T, pod *namespace) {
			fd := hold(t, pod, unix.IFF_VNET_HDR)
			require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, 24))
			require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1))
			require.NoError(t, unix.Close(fd))
		}, true, nil},
		{"it is gone", func(t *testing.T, pod *namespace) { ip(t, pod, remove) }, false, nil},
		{"it has another name", func(t *testing.T, pod *namespace) {
			ip(t, pod, []string{"link", "set", "nsm-1", "down"}, []string{"link", "set", "nsm-1", "name", "mine"})
			t.Cleanup(func() { ip(t, pod, []string{"link", "del", "mine"}) })
		}, false, nil},
		{"it has another alias", func(t *testing.T, pod *namespace) {
			ip(t, pod, []string{"link", "set", "nsm-1", "alias", "mine"})
			t.Cleanup(func() { ip(t, pod, remove) })
		}, false, podif.ErrNameTaken},
		{"a dummy has its name", func(t *testing.T, pod *namespace) {
			ip(t, pod, remove, []string{"tuntap", "add", "nsm-1", "mode", "tun"})
			t.Cleanup(func() { ip(t, pod, remove) })
		}, false, podif.ErrNameTaken},
		{"a veth has its name and alias", func(t *testing.T, pod *namespace) {
			ip(t, pod, remove, []string{"link", "add", "nsm-1", "type", "veth", "peer", "name", "other"}, alias)
		}, false, nil},
		{"a TAP has its name and alias", func(t *testing.T, pod *namespace) {
			ip(t, pod, remove, []string{"tuntap", "add", "nsm-1", "mode", "tap"}, alias)
		}, false, nil},
		{"a TUN with many queues has its name and alias", func(t *testing.T, pod *namespace) {
			ip(t, pod, remove, []string{"tuntap", "add", "nsm-1", "mode", "tun", "multi_queue"}, alias)
		}, false, nil},
		{"a TUN that lives as long as a program has its name and alias", func(t *testing.T, pod *namespace) {
			ip(t, pod, remove)
			fd := hold(t, pod, 0)
			t.Cleanup(func() { _ = unix.Close(fd) })
			ip(t, pod, alias)
		}, false, podif.ErrNameTaken},
		{"a program has the device", func(t *testing.T, pod *namespace) {
			fd := hold(t, pod, unix.IFF_VNET_HDR)
			t.Cleanup(func() { _ = unix.Close(fd) })
		}, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUnderlay(t)
			planes := [2]*Plane{u.start(t, 0, addrs4, userspace), u.start(t, 1, addrs4, userspace)}
			k := connect(t, [2]plane.Plane{planes[0], planes[1]}, addrs4, plane.IP, 1)
			planes[0].forgetAll()
			c.change(t, k.pods[0])
			time.Sleep(restartTime)
			var log bytes.Buffer
			p := u.start(t, 0, addrs4, userspace, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			conn := k.recalled(t, 0, addrs4)
			p.Recall(conn)
			if c.resumed {
				require.Len(t, p.Links(), 1)
				k.pods[0].answers(t, "10.7.0.2", resumeWithin)
				k.pods[0].ping(t, "10.7.0.2", 1440-28)
				stream(t, k.pods[0], k.pods[1], "10.7.0.2", 2<<20)
			} else {
				require.Contains(t, log.String(), "resume connection pod-0")
				require.Empty(t, p.Links())
				require.Empty(t, p.hubs.all)
			}
			_, err := p.Join(t.Context(), conn)
			if c.joins != nil {
				require.ErrorIs(t, err, c.joins)
				return
			}
			require.NoError(t, err)
			if !c.resumed {
				k.pods[0].addr(t, "nsm-1", "10.7.0.1/24")
			}
			k.pods[0].ping(t, "10.7.0.2")
		})
	}
}

// An entry that was read from a file may hold anything.
func TestRecallNonsense(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4, userspace)
	pod := newNamespace(t)
	port := pod.port(t, "nsm-1")
	gone, odd, mtu := port, port, guarded(0, 1, addrs4, true)
	gone.NetNS, gone.Inode = "", 1
	odd.Name = "../nsm"
	mtu.Remote = netip.AddrPort{}
	for name, c := range map[string]*plane.Connection{
		"nothing":                  {},
		"no tunnel":                {Payload: plane.IP, Client: port},
		"no pod":                   {Payload: plane.IP, Client: guarded(0, 1, addrs4, true)},
		"two tunnels":              {Payload: plane.IP, Client: guarded(0, 1, addrs4, true), Endpoint: guarded(0, 1, addrs4, true)},
		"the pod is gone":          {Payload: plane.IP, Client: gone, Endpoint: guarded(0, 1, addrs4, true)},
		"a name that is a path":    {Payload: plane.IP, Client: odd, Endpoint: guarded(0, 1, addrs4, true)},
		"no address":               {Payload: plane.IP, Client: port, Endpoint: mtu},
		"no keys":                  {Payload: plane.IP, Client: port, Endpoint: plane.WireGuard{Local: mtu.Local, Remote: mtu.Local}},
		"another family":           {Payload: plane.IP, Client: port, Endpoint: plane.WireGuard{Local: mtu.Local, Remote: netip.AddrPortFrom(addrs6[1], 1)}},
		"Ethernet":                 {Payload: plane.Ethernet, Client: port, Endpoint: guarded(0, 1, addrs4, true)},
		"an MTU that does not fit": {Payload: plane.IP, MTU: 1 << 40, Client: port, Endpoint: guarded(0, 1, addrs4, true)},
		"a negative MTU":           {Payload: plane.IP, MTU: -1, Client: port, Endpoint: guarded(0, 1, addrs4, true)},
		"no device":                {Payload: plane.IP, Client: port, Endpoint: guarded(0, 1, addrs4, true)},
	} {
		t.Run(name, func(t *testing.T) {
			c.ID = "c1"
			fds := len(descriptors(t))
			p.Recall(c)
			require.Nil(t, p.Left("c1"))
			pristine(t, p, fds, u.nodes[0], pod)
		})
	}
}

// A process that has the embedded plane, or Linux's WireGuard, has no use for the
// device that one without has left.
func TestOtherPlanesTakeTheNameBack(t *testing.T) {
	pod := newNamespace(t)
	d := tun.Device{NetNS: pod.path, Name: "nsm-1", Alias: "test nsm-1", Link: packet.IP, MTU: 1400, Lasting: true}
	noFault := func(string) error { return nil }
	fd, err := d.Open(noFault)
	require.NoError(t, err)
	_, err = d.Adopt(noFault)
	require.ErrorIs(t, err, podif.ErrNameTaken, "somebody has it")
	require.NoError(t, unix.Close(fd))
	index := pod.index(t, "nsm-1")
	d.Lasting = false
	fd, err = d.Open(noFault)
	require.NoError(t, err)
	require.NotEqual(t, index, pod.index(t, "nsm-1"))
	require.NoError(t, unix.Close(fd))
	require.Empty(t, pod.links(t))
	_, err = d.Adopt(noFault)
	require.ErrorIs(t, err, os.ErrNotExist)
}
