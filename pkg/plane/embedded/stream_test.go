// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// stream sends random bytes over TCP between two namespaces and compares what
// arrives.
func stream(t testing.TB, from, to *namespace, addr string, size int64) {
	t.Helper()
	var l net.Listener
	to.do(t, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	defer l.Close()
	type result struct {
		hash string
		n    int64
		err  error
	}
	done := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- result{err: err}
			return
		}
		defer c.Close()
		h := sha256.New()
		n, err := io.Copy(h, c)
		done <- result{hex.EncodeToString(h.Sum(nil)), n, err}
	}()
	var c net.Conn
	from.do(t, func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		return err
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	h := sha256.New()
	source := io.LimitReader(rand.NewChaCha8([32]byte{7}), size)
	start := time.Now()
	if _, err := io.CopyBuffer(io.MultiWriter(c, h), source, make([]byte, 256<<10)); err != nil {
		t.Fatalf("send: %v", err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	r := <-done
	if r.err != nil || r.n != size || r.hash != hex.EncodeToString(h.Sum(nil)) {
		t.Fatalf("received %d of %d bytes, hash %s, sent %s: %v", r.n, size, r.hash, hex.EncodeToString(h.Sum(nil)), r.err)
	}
	t.Logf("%s: %.2f Gbit/s, hashing at both ends", addr, float64(size)*8/1e9/time.Since(start).Seconds())
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
			size := int64(512 << 20)
			if testing.Short() {
				size = 32 << 20
			}
			stream(t, pods[0], pods[1], "10.7.0.2", size)
			stream(t, pods[1], pods[0], "fd07::1", size)
		})
	}
}
