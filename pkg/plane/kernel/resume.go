// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
)

// A tunnel of wireguard-go ends with the process. Its TUN device stays in the pod,
// with addresses and routes, and the next process puts a tunnel behind it again as
// soon as it is told of the connection: nobody has to ask. What it needs for that,
// it is told: Linux does not know the keys.
//
// The session is lost, whichever end began it. The peer may go on to use it, and
// has no reason to begin another one before it expires. So it is the resumed end
// that does, whoever was to begin the first.

// rousePatience is how long a handshake is waited for before another one begins.
// wireguard-go gives up after 90 seconds.
const rousePatience = time.Minute

// InProcess tells whether the connection's tunnel would be one of wireguard-go.
func (p *Plane) InProcess(c *plane.Connection) bool {
	end, ok := endOf(c)
	return ok && !p.wgDevices && end.port != nil
}

// podEnd is a connection of a pod's interface and a tunnel, seen from the pod.
type podEnd struct {
	pod  plane.Kernel
	side int // of the pod: 0 if it is the client's
	// port is the other end if that is WireGuard, nil if not.
	port *plane.WireGuard
}

// endOf is not ok unless one port, and only one, is a pod's.
func endOf(c *plane.Connection) (end podEnd, ok bool) {
	pods := 0
	for side, port := range []plane.Port{c.Client, c.Endpoint} {
		switch port := port.(type) {
		case plane.Kernel:
			end.pod, end.side = port, side
			pods++
		case plane.WireGuard:
			end.port = &port
		}
	}
	return end, pods == 1
}

// resume puts a tunnel behind the device that an earlier process has left for a
// connection. If it cannot, the device stays as it is.
func (l *link) resume(conn *plane.Connection, end podEnd) error {
	if err := tunnels.CheckWireGuard(conn.Payload, *end.port); err != nil {
		return err
	}
	if err := l.plane.claimInterface(l, conn.ID, end.pod); err != nil {
		return err
	}
	g := &guard{
		joint: joint{plane: l.plane, conn: conn, pod: end.pod, side: end.side},
		port:  *end.port, fd: -1,
	}
	g.resumed.Store(true)
	if err := g.open(context.Background()); err != nil {
		_ = g.release()
		return err
	}
	l.way = g
	return nil
}

// settle has a tunnel that was resumed be asked for. As after Join of another one,
// the end that initiates has a session then.
func (l *link) settle(ctx context.Context) error {
	g := l.way.(*guard)
	g.resumed.Store(false)
	if !g.port.Initiator {
		return nil
	}
	return g.tunnel.Handshake(ctx)
}

// rousing is the handshake of a tunnel that was resumed, which nobody waits for.
type rousing struct {
	sync.WaitGroup
	cancel context.CancelFunc // nil if there is none
}

func (r *rousing) end() {
	if r.cancel != nil {
		r.cancel()
	}
	r.Wait()
}

// rouse begins a session, and tries until there is one: the peer may be away.
func (g *guard) rouse() {
	ctx, cancel := context.WithCancel(context.Background())
	g.rousing.cancel = cancel
	g.rousing.Go(func() {
		for told := false; ; told = true {
			attempt, done := context.WithTimeout(ctx, rousePatience)
			err := g.tunnel.Handshake(attempt)
			again := attempt.Err() != nil
			done()
			if err == nil || ctx.Err() != nil {
				return
			}
			if !told {
				g.plane.log.Warn("resume a tunnel that an earlier run left", "connection", g.conn.ID, "error", err)
			}
			if !again {
				return
			}
		}
	})
}

// here is an end of ours with the address that the node has.
func (p *Plane) here(w plane.WireGuard) plane.WireGuard {
	w.Local = netip.AddrPortFrom(p.uplink.Addr(), w.Local.Port())
	return w
}
