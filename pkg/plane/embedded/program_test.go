// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// memif is a memif port in this namespace, at an abstract socket.
func (n *namespace) memif(t testing.TB, name string, master bool) plane.Memif {
	t.Helper()
	dev, ino, err := netns.Identity(n.path)
	if err != nil {
		t.Fatal(err)
	}
	return plane.Memif{Socket: "@/tmp/memif/" + name + "/memif.socket", NetNS: n.path, Device: dev, Inode: ino, Master: master}
}

// program is what a pod has at the other end of a memif port: one that uses
// package memif.
type program struct {
	iface    *memif.Interface
	listener *memif.Listener
	conn     *memif.Conn
	taken    atomic.Uint64 // packets, by discard
}

// program starts the other end of a port.
func startProgram(t testing.TB, port plane.Memif, cfg memif.Config) *program {
	t.Helper()
	p := &program{}
	a := memif.Address{Socket: port.Socket, NetNS: port.NetNS}
	var err error
	if port.Master {
		p.iface, err = memif.Slave(a, cfg)
	} else {
		if p.listener, err = memif.Listen(a); err != nil {
			t.Fatal(err)
		}
		p.iface, err = p.listener.Interface(cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// connect waits for the plane.
func (p *program) connect(t testing.TB) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var err error
	if p.conn, err = p.iface.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

// leave ends the connection.
func (p *program) leave() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

func (p *program) close() {
	p.leave()
	_ = p.iface.Close()
	if p.listener != nil {
		_ = p.listener.Close()
	}
}

func (p *program) send(t testing.TB, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		for deadline := time.Now().Add(5 * time.Second); p.conn.Tx()[0].Send([]memif.Packet{{Data: f}}) == 0; {
			if err := p.conn.Err(); err != nil || time.Now().After(deadline) {
				t.Fatalf("memif takes no packet: %v", err)
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// await returns the first packet that f accepts.
func (p *program) await(t testing.TB, what string, f func(frame []byte) bool) []byte {
	t.Helper()
	var views [64]memif.Packet
	var found []byte
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		for _, q := range p.conn.Rx() {
			n := q.Receive(views[:])
			var packet []byte
			for _, v := range views[:n] {
				if packet = append(packet, v.Data...); v.Next {
					continue
				}
				if found == nil && f(packet) {
					found = packet
				}
				packet = nil
			}
			q.Release()
		}
		if found != nil {
			return found
		}
	}
	t.Fatalf("no packet within 5 s: %s (connection: %v)", what, p.conn.Err())
	return nil
}

func is(want []byte) func([]byte) bool {
	return func(got []byte) bool { return bytes.Equal(got, want) }
}

// memifRoles are the ways in which the plane can meet a pod.
var memifRoles = []struct {
	name   string
	master bool
}{{"master", true}, {"slave", false}}
