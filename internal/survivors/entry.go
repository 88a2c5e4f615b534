// SPDX-License-Identifier: Apache-2.0

package survivors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// entry is what is written down of a link.
type entry struct {
	Connection string `json:"connection"`
	Interfaces ends   `json:"interfaces"`
	// Tunnel is there if Linux has no device that goes on as the tunnel.
	Tunnel *tunnel `json:"tunnel,omitempty"`
}

// ends are a link's interfaces in pods: two between pods, one of a tunnel.
type ends []plane.Kernel

// tunnel is what the next process needs to resume a WireGuard tunnel that is this
// process.
type tunnel struct {
	plane.WireGuard
	// PrivateKey is the one of WireGuard, which is not shown otherwise.
	PrivateKey plane.Key     `json:"privateKey"`
	Payload    plane.Payload `json:"payload"`
	MTU        int           `json:"mtu"`
	// PodIsEndpoint: the connection leads to the pod, and not from it.
	PodIsEndpoint bool `json:"podIsEndpoint"`
}

// newEntry takes from a connection what is to be written down. inProcess is as
// plane.Devices has it.
func newEntry(c *plane.Connection, inProcess bool) entry {
	e := entry{Connection: c.ID}
	_, podIsEndpoint := c.Endpoint.(plane.Kernel)
	for _, port := range []plane.Port{c.Client, c.Endpoint} {
		switch port := port.(type) {
		case plane.Kernel:
			e.Interfaces = append(e.Interfaces, port)
		case plane.WireGuard:
			if inProcess {
				e.Tunnel = &tunnel{port, port.PrivateKey, c.Payload, c.MTU, podIsEndpoint}
			}
		}
	}
	return e
}

// check finds out whether the entry can be one of ours.
func (e *entry) check() error {
	switch {
	case e.Connection == "":
		return errors.New("connection is missing")
	case len(e.Interfaces) < 1 || len(e.Interfaces) > 2:
		return fmt.Errorf("a link has one or two interfaces in pods, not %d", len(e.Interfaces))
	}
	for _, pod := range e.Interfaces {
		if pod.Name == "" || pod.Inode == 0 {
			return errors.New("name or namespace of an interface is missing")
		}
	}
	t := e.Tunnel
	switch {
	case t == nil:
		return nil
	case len(e.Interfaces) != 1:
		return errors.New("a tunnel has one interface in a pod")
	case t.PrivateKey == plane.Key{} || t.PeerKey == plane.Key{}:
		return errors.New("a tunnel's key is missing")
	case !t.Local.IsValid() || !t.Remote.IsValid():
		return errors.New("a tunnel's address is missing")
	}
	return nil
}

// connection is as much of the link's as is written down. Paths to namespaces are
// not.
func (e *entry) connection() *plane.Connection {
	c := &plane.Connection{ID: e.Connection, Client: e.Interfaces[0]}
	if len(e.Interfaces) == 2 {
		c.Endpoint = e.Interfaces[1]
	}
	if t := e.Tunnel; t != nil {
		port := t.WireGuard
		port.PrivateKey = t.PrivateKey
		c.Payload, c.MTU, c.Endpoint = t.Payload, t.MTU, port
		if t.PodIsEndpoint {
			c.Client, c.Endpoint = c.Endpoint, c.Client
		}
	}
	return c
}

// same compares all but the paths to the namespaces, which change.
func (e *entry) same(other *entry) bool {
	if (e.Tunnel == nil) != (other.Tunnel == nil) || e.Tunnel != nil && *e.Tunnel != *other.Tunnel {
		return false
	}
	return slices.EqualFunc(e.Interfaces, other.Interfaces, func(a, b plane.Kernel) bool {
		a.NetNS, b.NetNS = "", ""
		return a == b
	})
}

// shares tells whether the links have an interface in common.
func (e *entry) shares(other *entry) bool {
	for _, a := range e.Interfaces {
		for _, b := range other.Interfaces {
			if a.Device == b.Device && a.Inode == b.Inode && a.Name == b.Name {
				return true
			}
		}
	}
	return false
}
