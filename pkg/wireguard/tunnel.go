// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wg "golang.zx2c4.com/wireguard/device"
)

// Config is one tunnel.
type Config struct {
	// PrivateKey is ours. No two tunnels of a hub may have the same one.
	PrivateKey Key
	// PeerKey is the public key of the peer.
	PeerKey Key
	// Local is the address and port that the tunnel sends from until the peer
	// talks to another one.
	Local netip.AddrPort
	// Remote is where the peer is expected. It may roam: WireGuard answers to
	// where the last authenticated message came from.
	Remote netip.AddrPort
	// MTU of the IP packets inside, in bytes; DefaultMTU if zero. Packets are
	// padded to a multiple of 16 bytes, but not beyond it.
	MTU int
	// Keepalive is the interval of persistent keepalives, in whole seconds;
	// DefaultKeepalive if zero, none if negative. They begin with the first
	// handshake.
	Keepalive time.Duration
	// AllowedIPs are the addresses behind the peer; all if empty.
	AllowedIPs []netip.Prefix
	// PeerBegins: the peer calls Handshake, or does what amounts to it, about
	// now. Our end initiates only if it does not.
	PeerBegins bool
}

// Defaults of Config. The keepalive is the stock NSM forwarder's.
const (
	DefaultMTU       = wg.DefaultMTU
	DefaultKeepalive = 10 * time.Second
	// maxKeepalive is what 16 bits of seconds hold.
	maxKeepalive = (1<<16 - 1) * time.Second
	// maxMTU leaves room for the headers in wireguard-go's buffers.
	maxMTU = wg.MaxContentSize - wg.PaddingMultiple
)

// ErrKeyInUse is wrapped by Open when another tunnel of the hub has the private
// key: the public key is how initiations find their tunnel.
var ErrKeyInUse = errors.New("private key is in use by another tunnel")

// Tunnel is one WireGuard interface with one peer.
type Tunnel struct {
	hub    *Hub
	config Config
	public Key
	mac1   *mac1 // guarded by hub.mu
	inbox  inbox
	device *device
	wg     *wg.Device
	peer   *wg.Peer // guarded by crossing once the tunnel is up, nil when it closes

	// rosterAddr is the address under which initiations find the tunnel,
	// guarded by hub.mu.
	rosterAddr netip.Addr
	sessions   sessions
	crossing   crossing
	courtesy   courtesy

	// from is the endpoint that the last datagram came from, sentTo the one
	// that the last was sent to.
	from, sentTo atomic.Pointer[endpoint]
	// peerIndex is the receiver of the transport data sent last, noPeerIndex
	// before.
	peerIndex  atomic.Uint64
	dropped    atomic.Uint64
	sendErrors atomic.Uint64
	sendError  atomic.Pointer[error] // the last
	lastLog    atomic.Int64          // in nanoseconds since 1970

	life struct {
		sync.Mutex
		sync.WaitGroup
		closing   atomic.Bool // set with the lock held
		closed    chan struct{}
		keepalive bool          // was turned on
		begun     chan struct{} // closed and replaced when a session begins
	}
}

// noPeerIndex is no index: those have 32 bits.
const noPeerIndex = 1 << 32

// Open brings a tunnel up: it answers the peer from then on, and packets of
// inside will start a handshake. The tunnel closes inside when it is closed,
// and also when Open fails.
func (h *Hub) Open(ctx context.Context, cfg Config, inside Inside) (*Tunnel, error) {
	t, err := h.prepare(ctx, cfg)
	if err != nil {
		err = errors.Join(err, inside.Close())
		return nil, fmt.Errorf("open wireguard tunnel to %s: %w", cfg.Remote, err)
	}
	t.device = newDevice(inside, t.config.MTU, h.config.BatchSize)
	t.wg = wg.NewDevice(t.device, bind{t}, &wg.Logger{Verbosef: wg.DiscardLogf, Errorf: t.logf})
	// The hub knows the tunnel before it is up, lest an answer finds nobody.
	if err = h.enrol(t); err != nil {
		t.wg.Close()
	} else if err = t.bringUp(); err != nil {
		t.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("open wireguard tunnel to %s: %w", cfg.Remote, err)
	}
	return t, nil
}

// prepare makes a tunnel without its device.
func (h *Hub) prepare(ctx context.Context, cfg Config) (*Tunnel, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := &Tunnel{hub: h}
	var err error
	if t.public, err = cfg.check(); err != nil {
		return nil, err
	}
	t.config = cfg
	if t.mac1, err = newMAC1(t.public); err != nil {
		return nil, err
	}
	t.inbox.arrived.L = &t.inbox.mu
	t.peerIndex.Store(noPeerIndex)
	t.life.closed = make(chan struct{})
	t.life.begun = make(chan struct{})
	return t, nil
}

// check fills in the defaults and returns our public key.
func (c *Config) check() (Key, error) {
	switch {
	case c.PrivateKey == Key{}:
		return Key{}, errors.New("private key is missing")
	case c.PeerKey == Key{}:
		return Key{}, errors.New("peer key is missing")
	case !c.Local.IsValid() || c.Local.Port() == 0:
		return Key{}, fmt.Errorf("local endpoint %s is not an address and port", c.Local)
	case !c.Remote.IsValid() || c.Remote.Port() == 0:
		return Key{}, fmt.Errorf("remote endpoint %s is not an address and port", c.Remote)
	case c.Local.Addr().Unmap().Is4() != c.Remote.Addr().Unmap().Is4():
		return Key{}, fmt.Errorf("local endpoint %s and remote endpoint are of different IP versions", c.Local)
	}
	public, err := c.PrivateKey.Public()
	if err != nil {
		return Key{}, err
	}
	if public == c.PeerKey {
		return Key{}, errors.New("peer key is our own")
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.MTU < 68 || c.MTU > maxMTU { // RFC 791: every IPv4 link carries 68 bytes
		return Key{}, fmt.Errorf("mtu %d is not between 68 and %d", c.MTU, maxMTU)
	}
	if c.Keepalive == 0 {
		c.Keepalive = DefaultKeepalive
	}
	if c.Keepalive > maxKeepalive {
		return Key{}, fmt.Errorf("keepalive of %s is longer than %s", c.Keepalive, maxKeepalive)
	}
	if len(c.AllowedIPs) == 0 {
		c.AllowedIPs = []netip.Prefix{
			netip.PrefixFrom(netip.IPv4Unspecified(), 0),
			netip.PrefixFrom(netip.IPv6Unspecified(), 0),
		}
	}
	return public, nil
}

func (h *Hub) enrol(t *Tunnel) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("hub is closed")
	}
	if other := h.rosters.keys[t.public]; other != nil {
		return fmt.Errorf("%w, to %s", ErrKeyInUse, other.config.Remote)
	}
	h.rosters.add(t, t.config.Remote.Addr())
	return nil
}

// bringUp configures the device, in the terms of WireGuard's cross-platform
// interface.
func (t *Tunnel) bringUp() error {
	var uapi strings.Builder
	fmt.Fprintf(&uapi, "private_key=%s\n", hex.EncodeToString(t.config.PrivateKey[:]))
	fmt.Fprintf(&uapi, "public_key=%s\n", hex.EncodeToString(t.config.PeerKey[:]))
	fmt.Fprintf(&uapi, "endpoint=%s\n", t.config.Remote)
	for _, prefix := range t.config.AllowedIPs {
		fmt.Fprintf(&uapi, "allowed_ip=%s\n", prefix)
	}
	if err := t.wg.IpcSet(uapi.String()); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if t.peer = t.wg.LookupPeer(wg.NoisePublicKey(t.config.PeerKey)); t.peer == nil {
		return errors.New("configure: peer was not made")
	}
	if err := t.wg.Up(); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}

// keepAlive turns persistent keepalives on, once. Earlier than the first
// handshake they would make both ends initiate one when they come up, and two
// handshakes that cross each other fail both, until wireguard retries after
// five seconds.
//
// It is called from inside the device, so it must not wait for it.
func (t *Tunnel) keepAlive() {
	t.life.Lock()
	defer t.life.Unlock()
	if t.life.closing.Load() || t.life.keepalive || t.config.Keepalive < 0 {
		return
	}
	t.life.keepalive = true
	t.life.Go(func() {
		seconds := max(1, int(t.config.Keepalive/time.Second))
		// It fails only if the tunnel is being closed, and logs it by itself.
		_ = t.wg.IpcSet(fmt.Sprintf("public_key=%s\npersistent_keepalive_interval=%d\n",
			hex.EncodeToString(t.config.PeerKey[:]), seconds))
	})
}

// begun notes that data goes out under a session for the first time. It is
// called from inside the device.
func (t *Tunnel) begun() {
	t.keepAlive()
	t.life.Lock()
	defer t.life.Unlock()
	close(t.life.begun)
	t.life.begun = make(chan struct{})
}

// endpoint returns the shared endpoint for these addresses.
func (t *Tunnel) endpoint(remote, local netip.AddrPort) *endpoint {
	if e := t.from.Load(); e != nil && e.remote == remote && e.local == local {
		return e
	}
	e := &endpoint{remote: remote, local: local}
	t.from.Store(e)
	return e
}

// PublicKey is ours, the one that the peer must know.
func (t *Tunnel) PublicKey() Key { return t.public }

// Done is closed when the tunnel is down for good: by Close, or because Inside
// failed to read.
func (t *Tunnel) Done() <-chan struct{} { return t.wg.Wait() }

// Close takes the tunnel down and waits until nothing calls Inside any more. It
// may be called many times.
func (t *Tunnel) Close() {
	t.life.Lock()
	if t.life.closing.Load() {
		t.life.Unlock()
		<-t.life.closed
		return
	}
	t.life.closing.Store(true)
	t.life.Unlock()

	t.hub.mu.Lock()
	t.hub.rosters.remove(t)
	t.hub.mu.Unlock()
	t.endCrossing()
	t.wg.Close()
	t.life.Wait()
	t.forget()
	close(t.life.closed)
}

// logf passes on what the device or the tunnel complains about, not more often
// than once a second.
func (t *Tunnel) logf(format string, args ...any) {
	if t.life.closing.Load() {
		return
	}
	now := time.Now().UnixNano()
	last := t.lastLog.Load()
	if now-last < int64(time.Second) || !t.lastLog.CompareAndSwap(last, now) {
		return
	}
	t.hub.config.Log("wireguard tunnel to %s: %s", t.config.Remote, fmt.Sprintf(format, args...))
}
