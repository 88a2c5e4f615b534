// SPDX-License-Identifier: Apache-2.0

// Package uplink is the link that a node's tunnels leave by: which one it is,
// and how its frames must be addressed to reach another node.
//
// The kernel keeps the truth. Routes and neighbours are asked of it, followed
// by its notifications, and where it would not look by itself, because it does
// not see the packets that pass AF_XDP, it is made to: unknown neighbours are
// resolved and those in use confirmed.
package uplink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// ErrClosed is wrapped by the errors of an Uplink that has been closed.
var ErrClosed = errors.New("uplink is closed")

// Config says which uplink is meant. The zero Config is the one of the default
// route in the caller's network namespace.
type Config struct {
	// Tunnel is an address of the uplink; the zero Addr stands for the first
	// global one of the link that has the default route, IPv4 before IPv6.
	Tunnel netip.Addr
	// NetNS is a path to the network namespace of the uplink, empty for the
	// caller's.
	NetNS string
	// Log is told what changes at the uplink, in one line without a line end.
	// It is called from the uplink's goroutines and must not call back.
	Log func(format string, args ...any)

	// For tests: bytes of the notification socket, and another pace.
	receiveBuffer int
	tick          time.Duration
}

// Uplink is a link with Ethernet framing, and the next hops behind it. All
// methods are safe for concurrent use.
type Uplink struct {
	place
	queues int
	log    func(format string, args ...any)

	requests *netlink.Handle
	events   *nl.NetlinkSocket
	packets  int // AF_PACKET socket, for solicitations
	tick     time.Duration

	link atomic.Pointer[linkState]

	// mu guards what follows. It is held over requests to the kernel, never on
	// the packet path.
	mu         sync.Mutex
	closed     bool
	hops       map[netip.Addr]*entry
	neighbours map[netip.Addr]*neighbour

	stale   atomic.Bool  // routes have to be asked again
	lost    atomic.Int64 // times that notifications got lost
	wake    chan struct{}
	stop    chan struct{}
	running sync.WaitGroup
}

// linkState is what may change about the link.
type linkState struct {
	up  bool
	mtu int
	mac [6]byte
}

// Find is Open with a tunnel address alone; the zero Addr stands for the
// default route.
func Find(tunnel netip.Addr) (*Uplink, error) { return Open(Config{Tunnel: tunnel}) }

// Open finds the uplink and begins to follow it; the caller closes it. It needs
// CAP_NET_ADMIN and CAP_NET_RAW in the namespace.
func Open(c Config) (*Uplink, error) {
	u := &Uplink{
		log:        c.Log,
		packets:    -1,
		tick:       c.tick,
		hops:       map[netip.Addr]*entry{},
		neighbours: map[netip.Addr]*neighbour{},
		wake:       make(chan struct{}, 1),
		stop:       make(chan struct{}),
	}
	if u.tick == 0 {
		u.tick = defaultTick
	}
	if u.log == nil {
		u.log = func(string, ...any) {}
	}
	if err := netns.Do(c.NetNS, func() error { return u.open(c) }); err != nil {
		u.release()
		return nil, fmt.Errorf("find uplink: %w", err)
	}
	u.running.Go(u.follow)
	u.running.Go(u.tend)
	return u, nil
}

// open runs in the uplink's namespace.
func (u *Uplink) open(c Config) (err error) {
	if u.requests, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open rtnetlink socket: %w", err)
	}
	// Followed before the first look, so that nothing happens in between.
	if u.events, err = subscribe(c.receiveBuffer); err != nil {
		return err
	}
	if u.place, err = find(u.requests, c.Tunnel); err != nil {
		return err
	}
	u.link.Store(stateOf(u.place.link))
	u.queues = countQueues(u.device)
	u.packets, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket (needs CAP_NET_RAW): %w", err)
	}
	return nil
}

func stateOf(link netlink.Link) *linkState {
	a := link.Attrs()
	s := &linkState{mtu: a.MTU, up: a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0}
	copy(s.mac[:], a.HardwareAddr)
	return s
}

// Close stops following. Next hops that are still held keep the last Hop.
func (u *Uplink) Close() error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil
	}
	u.closed = true
	u.mu.Unlock()
	close(u.stop)
	u.release()
	u.running.Wait()
	return nil
}

func (u *Uplink) release() {
	if u.events != nil {
		u.events.Close()
	}
	if u.requests != nil {
		u.mu.Lock()
		u.requests.Close()
		u.mu.Unlock()
	}
	if u.packets >= 0 {
		u.mu.Lock()
		_ = unix.Close(u.packets)
		u.packets = -1
		u.mu.Unlock()
	}
}

// Name of the device that carries AF_XDP: of a VLAN interface, the parent.
func (u *Uplink) Name() string { return u.device.Attrs().Name }

// Index of the device that carries AF_XDP.
func (u *Uplink) Index() int { return u.device.Attrs().Index }

// LinkName is the interface that has the tunnel address. It differs from Name
// for a VLAN interface.
func (u *Uplink) LinkName() string { return u.place.link.Attrs().Name }

// VLAN are the tags that frames of the uplink carry on the device, outermost
// first; none if the device has the tunnel address itself.
func (u *Uplink) VLAN() []uint16 { return slices.Clone(u.tags) }

// Addr is the tunnel address.
func (u *Uplink) Addr() netip.Addr { return u.addr }

// Queues of the device that frames are received on, at least 1. A socket can be
// bound to each number below it.
func (u *Uplink) Queues() int { return u.queues }

// MTU in bytes, without link-layer header.
func (u *Uplink) MTU() int { return u.link.Load().mtu }

// HardwareAddr is the source address of the uplink's frames.
func (u *Uplink) HardwareAddr() net.HardwareAddr {
	mac := u.link.Load().mac
	return mac[:]
}

// Up tells whether the link can carry frames.
func (u *Uplink) Up() bool { return u.link.Load().up }
