// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/nsm-afxdp/forwarder/internal/survivors"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	chain "github.com/nsm-afxdp/forwarder/pkg/networkservice/chains/forwarder"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vlan"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/embedded"
	"github.com/nsm-afxdp/forwarder/pkg/plane/kernel"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// pinFolder is the folder of our pins on the bpffs.
const pinFolder = "nsm-forwarder"

// busyPollBudget is how many packets one busy poll may take, the kernel's own
// NAPI weight.
const busyPollBudget = 64

// node is what a run has set up on its node: the uplink, the classifier on it,
// the sockets and the plane that reads them. The kernel plane has neither
// classifier nor sockets.
type node struct {
	settings   *uplink.Settings
	uplink     *uplink.Uplink
	classifier *classifier.Classifier
	sockets    *xsk.Set
	plane      *survivors.Plane

	// devices are those that lead to the networks of VLAN endpoints.
	devices vlan.Devices
	// memifs is the folder of memif sockets for clients that give no namespace
	// for them; empty for none.
	memifs string

	// mtu is how much of the uplink's MTU the plane can use.
	mtu func(int) int
	// fragments tells which tunnels' packets the plane fragments if need be.
	fragments func(plane.Kind) bool

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
	if n.devices, err = readDevices(c.DeviceSelectorFile, n.uplink.Name()); err != nil {
		return nil, err
	}
	p, err := n.newPlane(c, log)
	if err != nil {
		return nil, err
	}
	kept, err := survivors.Keep(p, c.StateFile+".links", c.ForwardingPlane == planeKernel && c.KeepLinks, c.MaxTokenLifetime, log)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	n.plane = kept
	n.onTearDown(kept.Close)
	if n.sockets != nil {
		// Frames come from here on; until there are pinholes, none do.
		if err := n.sockets.Register(n.classifier.Sockets()); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// newPlane makes what moves the packets. The kernel plane needs no classifier
// and no sockets: Linux gets every frame.
func (n *node) newPlane(c *Config, log *slog.Logger) (plane.Plane, error) {
	if c.ForwardingPlane == planeKernel {
		n.mtu, n.fragments = func(mtu int) int { return mtu }, kernel.Fragments
		// A program that an embedded run has left would keep frames from Linux.
		if err := classifier.Uninstall(c.PinDir(), n.uplink.Name()); err != nil {
			return nil, err
		}
		return kernel.New(kernel.Config{Uplink: n.uplink, KeepLinks: c.KeepLinks, Log: log})
	}
	n.mtu, n.fragments = embedded.UnderlayMTU, func(plane.Kind) bool { return true }
	if err := n.makeSocketFolder(filepath.Join(filepath.Dir(c.StateFile), "memif")); err != nil {
		return nil, err
	}
	if err := n.attach(c, log); err != nil {
		return nil, err
	}
	if err := n.openSockets(c); err != nil {
		return nil, err
	}
	return embedded.New(embedded.Config{
		Uplink: n.uplink, Sockets: n.sockets.Sockets(), Log: log,
		ReceiveVLANs:        func() error { return n.settings.ReceiveVLANs(n.uplink.Name()) },
		MemifThroughWorkers: !c.DirectMemif,
	})
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

// makeSocketFolder makes an empty folder that only we can look into: clients
// get descriptors of the sockets in it.
func (n *node) makeSocketFolder(path string) error {
	if err := os.RemoveAll(path); err != nil { // a killed run's
		return fmt.Errorf("make the folder of memif sockets: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("make the folder of memif sockets: %w", err)
	}
	n.memifs = path
	n.onTearDown(func() error { return os.RemoveAll(path) })
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

// underlay is the uplink as tunnels may use it.
func (n *node) underlay() chain.Underlay { return &underlay{n} }

type underlay struct{ node *node }

func (u *underlay) Addr() netip.Addr { return u.node.uplink.Addr() }
func (u *underlay) MTU() int         { return u.node.mtu(u.node.uplink.MTU()) }

func (u *underlay) Fragments(tunnel plane.Kind) bool { return u.node.fragments(tunnel) }
