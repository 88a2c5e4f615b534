// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/links"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
)

// Config is what a Plane is made from.
type Config struct {
	// Uplink leads to the other nodes. The caller closes it after the plane.
	Uplink *uplink.Uplink
	// NetNS is a path to the network namespace of the uplink, empty for the
	// caller's.
	NetNS string
	// KeepLinks: Close leaves the devices that outlive this process in the
	// pods, for the next process to take over.
	KeepLinks bool
	// Log may be nil.
	Log *slog.Logger

	// fail lets tests make a step of Join fail.
	fail func(step string) error
	// userspace lets tests have wireguard-go where Linux has WireGuard.
	userspace bool
}

// Plane is a plane.Plane.
type Plane struct {
	uplink    *uplink.Uplink
	netns     string
	keepLinks bool
	log       *slog.Logger
	fail      func(step string) error
	node      *netlink.Handle // in netns
	kinds     []portKind
	wgDevices bool // Linux has WireGuard

	hubs struct {
		sync.Mutex
		all map[netip.AddrPort]*hub
	}

	links *links.Set[*link]

	mu       sync.Mutex
	claims   map[string]string            // what only one connection can have, and its id
	wgPorts  map[string]wgPort            // by connection
	recalled map[string]*plane.Connection // see Recall
}

var (
	_ plane.Plane   = (*Plane)(nil)
	_ plane.Devices = (*Plane)(nil)
)

// New finds out what this kernel can do. It needs CAP_NET_ADMIN in the namespace
// of the uplink and in those of the pods.
func New(cfg Config) (*Plane, error) {
	if cfg.Uplink == nil {
		return nil, errors.New("start kernel plane: no uplink")
	}
	p := &Plane{
		uplink: cfg.Uplink, netns: cfg.NetNS, keepLinks: cfg.KeepLinks, log: cfg.Log, fail: cfg.fail,
		claims: make(map[string]string), wgPorts: make(map[string]wgPort),
		recalled: make(map[string]*plane.Connection),
	}
	p.links = p.noLinks()
	p.hubs.all = make(map[netip.AddrPort]*hub)
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if p.node, err = netns.NetlinkHandle(cfg.NetNS); err != nil {
		return nil, fmt.Errorf("start kernel plane: %w", err)
	}
	p.wgDevices = !cfg.userspace && probeType("wireguard")(p.node) == nil
	for _, k := range portKinds {
		if err := k.probe(p.node); err != nil {
			p.log.Warn("kernel plane does without a kind of port", "kind", k.kind, "reason", err)
			continue
		}
		p.kinds = append(p.kinds, k)
	}
	return p, nil
}

// Kinds lists the kinds of port that this kernel can make, best first.
func (p *Plane) Kinds(payload plane.Payload) []plane.Kind {
	var kinds []plane.Kind
	for _, k := range p.kinds {
		if k.payload == "" || k.payload == payload {
			kinds = append(kinds, k.kind)
		}
	}
	return kinds
}

// fault is the hook of tests.
func (p *Plane) fault(step string) error {
	if p.fail == nil {
		return nil
	}
	return p.fail(step)
}

// Join makes both ports and lets packets flow between them. Another process's
// device for the same connection is taken over.
func (p *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	return p.links.Join(ctx, c)
}

// Leave undoes Join.
func (p *Plane) Leave(_ context.Context, id string) error {
	p.mu.Lock()
	delete(p.wgPorts, id)
	delete(p.recalled, id)
	p.mu.Unlock()
	return p.links.Leave(id, false)
}

// Links lists the joined connections, ordered by id.
func (p *Plane) Links() []plane.Link { return p.links.All() }

// Close leaves all connections, or lets go of them if Config.KeepLinks is set,
// and frees what the plane has in this process.
func (p *Plane) Close() error {
	first, err := p.links.Close(p.keepLinks)
	if first {
		p.node.Close()
	}
	return err
}
