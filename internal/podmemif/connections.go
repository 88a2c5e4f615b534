// SPDX-License-Identifier: Apache-2.0

// Package podmemif is the MEMIF mechanism at the two ends of a connection: NewClient is
// for the pod that asks, NewServer for the pod that answers. Each connection gets a
// memif, and on it an IP stack of its own, configured by the connection's context.
//
// On the wire: control sockets are abstract and belong to the network namespace of the
// pod, whose file travels as inodeURL. The forwarder listens for the client (the
// client is the slave), the endpoint listens for the forwarder (the endpoint is the
// master). Both use id 0 and no secret; the payload of the connection tells the mode.
package podmemif

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/payload"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// ownNetNS is the namespace of whoever opens it.
const ownNetNS = "file:///proc/thread-self/ns/net"

// Connections are those of a pod that have a memif. The zero value is ready. It is safe for
// concurrent use, where one connection is changed by one goroutine at a time.
type Connections struct {
	// NegotiateOnly leaves the sockets to another program of the pod, such as VPP or
	// dpdk-testpmd. Their addresses are logged.
	NegotiateOnly bool
	// Started is called with each stack that has just been made; the returned
	// function when it ends, before it does.
	Started func(id string, s *netstack.Stack) (end func())

	stacks netstack.Table
	mu     sync.Mutex
	ends   map[string]*end
}

// end is one end of a memif.
type end struct {
	socket   string
	mode     memif.Mode
	listener *memif.Listener // of a master
	stack    *netstack.Stack // nil if it is another program's
	ended    func()
}

// Lookup is the stack with the best route to an address, nil if no connection leads there.
func (c *Connections) Lookup(a netip.Addr) *netstack.Stack { return c.stacks.Lookup(a) }

// Get is the stack of a connection; ok tells whether the connection has a memif at all.
func (c *Connections) Get(id string) (s *netstack.Stack, ok bool) {
	e := c.end(id)
	if e == nil {
		return nil, false
	}
	return e.stack, true
}

// Close ends all stacks.
func (c *Connections) Close() {
	c.mu.Lock()
	var ids []string
	for id := range c.ends {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	for _, id := range ids {
		c.remove(id)
	}
}

func (c *Connections) end(id string) *end {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends[id]
}

// connect makes the slave's end of conn, or brings it to what conn says by now.
func (c *Connections) connect(ctx context.Context, conn *networkservice.Connection, socket string, config podnet.Config) error {
	id, mode := conn.GetId(), modeOf(conn)
	before := c.end(id)
	if before != nil && before.mode == mode && before.socket == socket {
		return before.configure(config)
	}
	if c.NegotiateOnly {
		c.put(ctx, id, &end{socket: socket, mode: mode}, "slave")
		return nil
	}
	iface, err := memif.Slave(memif.Address{Socket: socket}, memif.Config{Mode: mode, Name: conn.GetMechanism().GetParameters()["name"]})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", socket, err)
	}
	if before != nil && before.mode == mode {
		log.FromContext(ctx).Infof("connection %s moves to memif socket %s", id, socket)
		before.stack.Replace(iface)
		before.socket = socket
		return before.configure(config)
	}
	c.remove(id)
	return c.start(ctx, id, &end{socket: socket, mode: mode}, iface, config)
}

// listen makes the master's end of conn, unless there is one.
func (c *Connections) listen(ctx context.Context, conn *networkservice.Connection, socket string) error {
	id, mode := conn.GetId(), modeOf(conn)
	if before := c.end(id); before != nil && before.mode == mode && before.socket == socket {
		return nil
	}
	c.remove(id)
	if c.NegotiateOnly {
		c.put(ctx, id, &end{socket: socket, mode: mode}, "master")
		return nil
	}
	listener, err := memif.Listen(memif.Address{Socket: socket})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", socket, err)
	}
	iface, err := listener.Interface(memif.Config{Mode: mode, Name: conn.GetMechanism().GetParameters()["name"]})
	if err != nil {
		_ = listener.Close()
		return fmt.Errorf("listen on %s: %w", socket, err)
	}
	return c.start(ctx, id, &end{socket: socket, mode: mode, listener: listener}, iface, podnet.Config{})
}

// start puts a stack on iface; both, and the listener, end if that fails.
func (c *Connections) start(ctx context.Context, id string, e *end, iface *memif.Interface, config podnet.Config) error {
	var err error
	e.stack, err = netstack.New(netstack.Options{Interface: iface, Mode: e.mode, Seed: id})
	if err != nil {
		_ = iface.Close()
		e.close()
		return err
	}
	if err := e.configure(config); err != nil {
		e.close()
		return err
	}
	if c.Started != nil {
		e.ended = c.Started(id, e.stack)
	}
	role := "slave"
	if e.listener != nil {
		role = "master"
	}
	c.put(ctx, id, e, role)
	c.stacks.Put(id, e.stack)
	if e.listener == nil {
		// The forwarder listens when it has answered. Who is told of the connection may
		// count on it.
		waitCtx, cancel := context.WithTimeout(ctx, settle)
		defer cancel()
		e.stack.AwaitPeer(waitCtx)
	}
	return nil
}

// settle is how long a new connection may wait for its forwarder. One that takes
// longer comes later, as after a restart.
const settle = 2 * time.Second

func (c *Connections) put(ctx context.Context, id string, e *end, role string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends == nil {
		c.ends = make(map[string]*end)
	}
	c.ends[id] = e
	log.FromContext(ctx).Infof("memif socket %s role %s mode %v", e.socket, role, e.mode)
}

// remove ends what connection id has, if anything.
func (c *Connections) remove(id string) {
	c.mu.Lock()
	e := c.ends[id]
	delete(c.ends, id)
	c.mu.Unlock()
	if e == nil {
		return
	}
	if e.stack != nil {
		c.stacks.Remove(id, e.stack)
	}
	e.close()
}

func (e *end) configure(config podnet.Config) error {
	if e == nil || e.stack == nil {
		return nil
	}
	return e.stack.Configure(config)
}

func (e *end) close() {
	if e.ended != nil {
		e.ended()
	}
	if e.stack != nil {
		_ = e.stack.Close()
	}
	if e.listener != nil {
		_ = e.listener.Close()
	}
}

func modeOf(conn *networkservice.Connection) memif.Mode {
	if conn.GetPayload() == payload.IP {
		return memif.IP
	}
	return memif.Ethernet
}
