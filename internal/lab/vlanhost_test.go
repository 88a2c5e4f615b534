// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// Hosts of one VLAN reach each other through the switch, with frames as large as
// the underlay's MTU, hosts of another VLAN do not, and nodes take no notice.
func TestVLANHosts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	l, err := New(Config{Tag: "vlanhost", Switch: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	var hosts []*VLANHost
	for i, id := range []uint16{100, 100, 101} {
		h, err := l.AddVLANHost(id,
			netip.MustParsePrefix(fmt.Sprintf("10.77.0.%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd77::%d/64", i+1)))
		if errors.Is(err, ebpf.ErrNotSupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	ping := func(from *Namespace, to string, more ...string) error {
		args := append([]string{"-n", "-q", "-c", "5", "-l", "5", "-i", "2"}, more...)
		out, err := Run(t.Context(), from.Path, "ping", append(args, to)...)
		if err == nil && !strings.Contains(out, " 5 received") {
			err = errors.New(out)
		}
		return err
	}
	for _, to := range []string{"10.77.0.2", "fd77::2"} {
		if err := ping(hosts[0].Namespace, to); err != nil {
			t.Error(err)
		}
	}
	if err := ping(hosts[0].Namespace, "10.77.0.2", "-M", "do", "-s", "1472"); err != nil {
		t.Errorf("a packet of the MTU: %v", err)
	}
	if err := ping(hosts[0].Namespace, "10.77.0.3"); err == nil {
		t.Error("a host of another VLAN answers")
	}
	if err := ping(l.Nodes[0].Namespace, l.Nodes[1].Addr.String()); err != nil {
		t.Errorf("from node to node: %v", err)
	}
	const size = 32 << 20
	if n, err := stream(hosts[1].Namespace, hosts[0].Namespace, "10.77.0.1", size); n != size || err != nil {
		t.Errorf("%d of %d bytes arrived: %v", n, size, err)
	}
}

// stream sends bytes over TCP and returns how many arrived.
func stream(from, to *Namespace, addr string, size int) (n int64, err error) {
	var l net.Listener
	if err := netns.Do(to.Path, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	}); err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	sent := make(chan error, 1)
	go func() {
		sent <- netns.Do(from.Path, func() error {
			c, err := net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
			if err != nil {
				_ = l.Close()
				return err
			}
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			_, err = c.Write(make([]byte, size))
			return errors.Join(err, c.Close())
		})
	}()
	c, err := l.Accept()
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		n, err = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	return n, errors.Join(err, <-sent)
}
