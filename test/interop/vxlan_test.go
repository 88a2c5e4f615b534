// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

const (
	vni       = 77
	vxlanPort = 4789
)

// joinVXLAN links the pod to a VXLAN device of Linux on the peer.
func (w *world) joinVXLAN(t *testing.T) {
	t.Helper()
	args := []string{"link", "add", "vx0", "type", "vxlan", "id", fmt.Sprint(vni), "dev", "eth0",
		"local", w.underlay.peer.String(), "remote", w.ours.String(), "dstport", fmt.Sprint(vxlanPort)}
	w.run(t, w.peer, "ip", args...)
	w.run(t, w.peer, "ip", "addr", "add", peerAddr.String(), "dev", "vx0")
	w.run(t, w.peer, "ip", "link", "set", "vx0", "mtu", fmt.Sprint(w.vxlanMTU), "up")
	w.join(t, plane.Ethernet, w.vxlanMTU,
		plane.VXLAN{Local: w.ours, Remote: w.underlay.peer, LocalPort: vxlanPort, RemotePort: vxlanPort, VNI: vni},
		classifier.Pinhole{Addr: w.ours, Port: vxlanPort, VNI: vni})
}

func TestKernelVXLAN(t *testing.T) {
	for _, u := range underlays {
		t.Run(u.name, func(t *testing.T) {
			w := newWorld(t, u)
			w.joinVXLAN(t)
			w.requirePing(t, u.vxlanMTU)
			w.requireTCP(t)
		})
	}
}

func TestVXLANOnTheWire(t *testing.T) {
	requireTool(t, "tcpdump")
	for _, u := range underlays {
		t.Run(u.name, func(t *testing.T) {
			w := newWorld(t, u)
			w.joinVXLAN(t)
			w.run(t, w.pod, "ping", "-n", "-q", "-c", "1", "-W", "5", peerAddr.Addr().String())

			stop := w.capture(t, fmt.Sprintf("udp and src %s", u.ours))
			w.run(t, w.pod, "ping", "-n", "-q", "-c", "5", "-i", "0.01", peerAddr.Addr().String())
			w.requireTCP(t)
			text := stop()

			require.Contains(t, text, "ICMP echo request")
			for line := range strings.Lines(text) {
				require.NotRegexp(t, `\(incorrect|bad (cksum|hdr)|\(wrong`, line)
			}
			headers := regexp.MustCompile(regexp.QuoteMeta(u.ours.String())+`\.(\d+) > `+
				regexp.QuoteMeta(u.peer.String())+`\.4789: .*VXLAN, flags \[I\] \(0x08\), vni 77`).FindAllStringSubmatch(text, -1)
			require.Greater(t, len(headers), 50, "frames with the right addresses, port and VNI")
			ports := map[string]bool{}
			for _, h := range headers {
				ports[h[1]] = true
				require.Regexp(t, `^(49|5\d|6[0-5])\d{3}$`, h[1], "source port in the range of RFC 7348")
			}
			require.Greater(t, len(ports), 1, "different flows have different source ports")
			if u.ours.Is4() {
				require.Equal(t, strings.Count(text, "vni 77"), strings.Count(text, "flags [DF], proto UDP"))
			}
		})
	}
}

// capture records what arrives at the peer; the returned function ends that and
// has tcpdump print it with all checksums verified.
func (w *world) capture(t *testing.T, filter string) (stop func() string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture.pcap")
	dump := exec.Command("tcpdump", "-i", "eth0", "-Q", "in", "-s", "0", "-B", "65536", "-c", "20000", "-w", file, "-Z", "root", filter)
	listening := newWatch("listening on")
	dump.Stderr = listening
	require.NoError(t, netns.Do(w.peer, dump.Start))
	listening.await(t)
	return func() string {
		_ = dump.Process.Signal(os.Interrupt)
		_ = dump.Wait()
		out, err := exec.Command("tcpdump", "-r", file, "-nn", "-vv", "-c", "5000").Output()
		require.NoError(t, err)
		return string(out)
	}
}

// TestNeighbouringVNIStaysWithLinux has two VXLAN networks on one port of one
// node: ours, and one of Linux.
func TestNeighbouringVNIStaysWithLinux(t *testing.T) {
	w := newWorld(t, underlays[0])
	w.joinVXLAN(t)
	for ns, end := range map[string][3]string{
		w.node: {w.ours.String(), w.underlay.peer.String(), "172.21.0.1/24"},
		w.peer: {w.underlay.peer.String(), w.ours.String(), "172.21.0.2/24"},
	} {
		w.run(t, ns, "ip", "link", "add", "vx1", "type", "vxlan", "id", "78", "dev", "eth0",
			"local", end[0], "remote", end[1], "dstport", fmt.Sprint(vxlanPort))
		w.run(t, ns, "ip", "addr", "add", end[2], "dev", "vx1")
		w.run(t, ns, "ip", "link", "set", "vx1", "up")
	}
	w.run(t, w.node, "ping", "-n", "-q", "-c", "1", "-W", "5", "172.21.0.2")
	out := w.run(t, w.node, "ping", "-n", "-q", "-l", "20", "-c", "20", "-i", "2", "172.21.0.2")
	require.Contains(t, out, " 0% packet loss")
	w.requirePing(t, w.vxlanMTU)

	counters, err := w.classifier.Counters()
	require.NoError(t, err)
	for _, c := range counters {
		switch c.Name() {
		case "pass_no_vni", "redirect_vni":
			require.GreaterOrEqual(t, c.Packets, uint64(20), c.Name())
		}
	}
}

// TestNodesOwnTrafficIsUntouched floods the tunnel while the node talks to its
// peer.
func TestNodesOwnTrafficIsUntouched(t *testing.T) {
	requireTool(t, "iperf3")
	w := newWorld(t, underlays[0])
	w.joinVXLAN(t)
	flood := exec.Command("ping", "-n", "-q", "-f", "-w", "20", podAddr.Addr().String())
	require.NoError(t, netns.Do(w.peer, flood.Start))
	defer func() {
		_ = flood.Process.Kill()
		_ = flood.Wait()
	}()
	out := w.run(t, w.node, "ping", "-n", "-q", "-c", "300", "-i", "0.005", "-s", "1400", w.underlay.peer.String())
	require.Contains(t, out, " 0% packet loss")

	server := exec.Command("iperf3", "-s", "-1", "--forceflush")
	listening := newWatch("Server listening")
	server.Stdout = listening
	require.NoError(t, netns.Do(w.node, server.Start))
	listening.await(t)
	out = w.run(t, w.peer, "iperf3", "-c", w.ours.String(), "-t", "2", "-b", "200M")
	require.NoError(t, server.Wait())
	require.Regexp(t, `\s0\s+sender`, out, "TCP between the nodes retransmits nothing")
}
