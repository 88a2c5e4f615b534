// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net/netip"

	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

// hub is where the WireGuard tunnels of one local UDP port meet.
type hub struct {
	*wireguard.Hub
	local netip.AddrPort
	wire  *wire
	users int // guarded by Plane.hubs
}

// openHub returns the hub of a local port, making it and its socket for the
// first tunnel.
func (p *Plane) openHub(local netip.AddrPort) (*hub, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if err := p.fault("hub"); err != nil {
		return nil, err
	}
	p.hubs.Lock()
	defer p.hubs.Unlock()
	if h := p.hubs.all[local]; h != nil {
		h.users++
		return h, nil
	}
	w, err := listen(p.netns, local)
	if err != nil {
		return nil, err
	}
	h := &hub{local: local, wire: w, users: 1, Hub: wireguard.NewHub(w, wireguard.HubConfig{
		Log: func(format string, args ...any) { p.log.Info(fmt.Sprintf(format, args...)) },
	})}
	w.start(h.Hub, func(err error) { p.log.Error("WireGuard's socket fails", "local", local, "error", err) })
	p.hubs.all[local] = h
	return h, nil
}

func (p *Plane) closeHub(h *hub) error {
	p.hubs.Lock()
	defer p.hubs.Unlock()
	if h.users--; h.users > 0 {
		return nil
	}
	delete(p.hubs.all, h.local)
	err := h.wire.close()
	h.Close()
	if err != nil {
		return fmt.Errorf("close WireGuard's socket %s: %w", h.local, err)
	}
	return nil
}
