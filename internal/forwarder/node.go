// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/nsm-afxdp/forwarder/internal/status"
	"github.com/nsm-afxdp/forwarder/internal/survivors"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/plane/embedded"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// pinFolder is the folder of our pins on the bpffs.
const pinFolder = "nsm-forwarder"

// busyPollBudget is how many packets one busy poll may take, the kernel's own
// NAPI weight.
const busyPollBudget = 64

// node is what a run has set up on its node: the uplink, the classifier on it,
// the sockets and the plane that reads them.
type node struct {
	settings   *uplink.Settings
	uplink     *uplink.Uplink
	classifier *classifier.Classifier
	sockets    *xsk.Set
	plane      *survivors.Plane

	undo []func() error
}

// setUp makes all of it, or nothing.
func setUp(c *Config, log *slog.Logger) (_ *node, err error) {
	n := &node{}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.tearDown())
		}
	}()
	if err := n.findUplink(c, log); err != nil {
		return nil, err
	}
	if err := n.prepareHost(c, log); err != nil {
		return nil, err
	}
	if err := n.attach(c, log); err != nil {
		return nil, err
	}
	if err := n.openSockets(c); err != nil {
		return nil, err
	}
	p, err := embedded.New(embedded.Config{Uplink: n.uplink, Sockets: n.sockets.Sockets(), Log: log})
	if err != nil {
		return nil, err
	}
	kept, err := survivors.Keep(p, c.StateFile+".links", c.MaxTokenLifetime, log)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	n.plane = kept
	n.onTearDown(kept.Close)
	// Frames come from here on; until there are pinholes, none do.
	if err := n.sockets.Register(n.classifier.Sockets()); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *node) findUplink(c *Config, log *slog.Logger) error {
	var tunnel netip.Addr
	if len(c.TunnelIP) > 0 {
		addr, ok := netip.AddrFromSlice(c.TunnelIP)
		if !ok {
			return fmt.Errorf("NSM_TUNNEL_IP=%s is no IP address", c.TunnelIP)
		}
		tunnel = addr.Unmap()
	}
	u, err := uplink.Open(uplink.Config{
		Tunnel: tunnel,
		Log:    infof(log),
	})
	if err != nil {
		return err
	}
	n.uplink = u
	n.onTearDown(u.Close)
	log.Info("found the uplink", "interface", u.Name(), "address", u.Addr(), "mtu", u.MTU(), "queues", u.Queues())
	return nil
}

// prepareHost changes what must be different on the host, and puts it back at
// the end; what a killed run has changed becomes ours to put back.
func (n *node) prepareHost(c *Config, log *slog.Logger) error {
	if err := os.MkdirAll(filepath.Dir(c.StateFile), 0o755); err != nil {
		return fmt.Errorf("make the folder of NSM_STATE_FILE: %w", err)
	}
	settings, err := uplink.OpenSettings(uplink.SettingsConfig{Path: c.StateFile, Log: infof(log)})
	if err != nil {
		return err
	}
	n.settings = settings
	n.onTearDown(settings.Restore)
	if c.BPFFS == "" {
		return nil
	}
	if err := settings.MountBPF(c.BPFFS); err != nil {
		return fmt.Errorf("NSM_BPF_FS: %w", err)
	}
	return nil
}

func infof(log *slog.Logger) func(format string, args ...any) {
	return func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) }
}

// PinDir is where the classifier's pins are, empty for nowhere.
func (c *Config) PinDir() string {
	if c.BPFFS == "" {
		return ""
	}
	return filepath.Join(c.BPFFS, pinFolder)
}

func (n *node) attach(c *Config, log *slog.Logger) error {
	cl, err := classifier.Attach(classifier.Config{
		Interface: n.uplink.Name(),
		PinDir:    c.PinDir(),
		Mode:      xdpModes[c.XDPMode],
		Log:       log,
	})
	if err != nil {
		return err
	}
	n.classifier = cl
	if c.KeepClassifier {
		n.onTearDown(cl.Close)
	} else {
		n.onTearDown(cl.Detach)
	}
	log.Info("attached the classifier", "interface", cl.Interface(), "mode", cl.Mode())
	return nil
}

func (n *node) openSockets(c *Config) error {
	cfg := embedded.SocketConfig(n.uplink.MTU(), n.uplink.Queues())
	cfg.Mode, cfg.HugePages = socketModes[c.AFXDPMode], c.HugePages
	if c.BusyPoll > 0 {
		cfg.BusyPoll = xsk.BusyPoll{Duration: c.BusyPoll, Budget: busyPollBudget, Prefer: true}
	}
	set, err := xsk.OpenSet(n.uplink.Index(), n.uplink.Queues(), cfg)
	if err != nil {
		return err
	}
	n.sockets = set
	n.onTearDown(set.Close)
	return nil
}

func (n *node) onTearDown(f func() error) { n.undo = append(n.undo, f) }

// tearDown undoes setUp, last things first.
func (n *node) tearDown() error {
	var errs []error
	for i := len(n.undo) - 1; i >= 0; i-- {
		errs = append(errs, n.undo[i]())
	}
	n.undo = nil
	return errors.Join(errs...)
}

// describe fills in what the status tells of the node.
func (n *node) describe(s *status.Status) error {
	u := &status.Uplink{
		Interface: n.uplink.Name(), Address: n.uplink.Addr(), MTU: n.uplink.MTU(), Queues: n.uplink.Queues(),
		XDPMode: n.classifier.Mode().String(), ZeroCopy: true,
	}
	for _, socket := range n.sockets.Sockets() {
		u.ZeroCopy = u.ZeroCopy && socket.ZeroCopy()
	}
	s.Uplink = u
	s.Hops = n.uplink.Hops()
	s.Drops = n.someDrops()
	s.Settings = n.settings.Changes()
	counters, err := n.classifier.Counters()
	if err != nil {
		return err
	}
	for _, c := range counters {
		if c.Packets > 0 {
			s.Counters = append(s.Counters, status.Counter{
				Verdict: string(c.Verdict), Reason: c.Reason, Packets: c.Packets, Bytes: c.Bytes,
			})
		}
	}
	for _, p := range n.classifier.Pinholes() {
		s.Pinholes = append(s.Pinholes, status.Pinhole{To: p.String(), References: p.References})
	}
	links := n.plane.Links()
	for i := range links {
		s.Links = append(s.Links, status.NewLink(&links[i]))
	}
	return nil
}

// someDrops are the drops, without reasons that there were none for.
func (n *node) someDrops() map[string]uint64 {
	drops := n.plane.Drops()
	maps.DeleteFunc(drops, func(_ string, packets uint64) bool { return packets == 0 })
	return drops
}

// underlay is the uplink as tunnels may use it.
type underlay struct{ *uplink.Uplink }

// MTU of the uplink, as far as the plane can use it.
func (u underlay) MTU() int { return embedded.UnderlayMTU(u.Uplink.MTU()) }
