// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// pods joins a pod on each node by VXLAN, with addresses 10.7.0.x and fd07::x.
func (u *underlay) pods(t testing.TB, nodes [2]*node, addrs [2]netip.Addr) [2]*namespace {
	t.Helper()
	var pods [2]*namespace
	for i := range pods {
		pods[i] = newNamespace(t)
		if _, err := nodes[i].Join(context.Background(), &plane.Connection{
			ID: fmt.Sprint("pod-", i), Payload: plane.Ethernet,
			Client: pods[i].port(t, "nsm-1"), Endpoint: tunnel(i, 7, addrs),
		}); err != nil {
			t.Fatal(err)
		}
		pods[i].addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
	}
	return pods
}

// pattern is what streams consist of, over and over. Its length has no factor in
// common with those of packets.
var pattern = func() []byte {
	b := make([]byte, 1<<20+7)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}()

// stream sends bytes over TCP between two namespaces and compares what arrives.
func stream(t testing.TB, from, to *namespace, addr string, size int64) {
	t.Helper()
	var l net.Listener
	to.do(t, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	defer l.Close()
	done := make(chan error, 1)
	go func() { done <- compare(l, size) }()
	var c net.Conn
	from.do(t, func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		return err
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	start := time.Now()
	for sent := int64(0); sent < size; {
		n := min(size-sent, int64(len(pattern)))
		if _, err := c.Write(pattern[:n]); err != nil {
			t.Fatalf("send: %v", err)
		}
		sent += n
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %.2f Gbit/s", addr, float64(size)*8/1e9/time.Since(start).Seconds())
}

// compare accepts a connection and reads the stream.
func compare(l net.Listener, size int64) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 256<<10)
	var at int64
	for {
		n, err := c.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			want := pattern[at%int64(len(pattern)):]
			k := min(len(b), len(want))
			if !bytes.Equal(b[:k], want[:k]) {
				return fmt.Errorf("what arrived after %d bytes differs", at)
			}
			b = b[k:]
			at += int64(k)
		}
		switch {
		case errors.Is(err, io.EOF) && at == size:
			return nil
		case err != nil:
			return fmt.Errorf("%d of %d bytes arrived: %w", at, size, err)
		}
	}
}

func TestStreamsArriveIntact(t *testing.T) {
	for _, underlayOf := range []struct {
		name  string
		addrs [2]netip.Addr
	}{{"IPv4 underlay", addrs4}, {"IPv6 underlay", addrs6}} {
		t.Run(underlayOf.name, func(t *testing.T) {
			u := newUnderlay(t, 1500)
			nodes := [2]*node{u.start(t, 0, underlayOf.addrs, nil), u.start(t, 1, underlayOf.addrs, nil)}
			pods := u.pods(t, nodes, underlayOf.addrs)
			pods[0].ping(t, "10.7.0.2")
			pods[1].ping(t, "fd07::1")
			size := int64(256 << 20)
			if testing.Short() {
				size = 32 << 20
			}
			stream(t, pods[0], pods[1], "10.7.0.2", size)
			stream(t, pods[1], pods[0], "fd07::1", size)
		})
	}
}
