// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetMTU sets the MTU of a link, in bytes without link-layer header.
func (s *Settings) SetMTU(link string, mtu int) error {
	return s.set(Change{Kind: "mtu", Target: link, Now: strconv.Itoa(mtu)})
}

// SetPromiscuous has a link receive frames for other stations.
func (s *Settings) SetPromiscuous(link string, on bool) error {
	return s.set(Change{Kind: "promiscuous", Target: link, Now: onOff(on)})
}

// SetChannels sets how many queues of each kind a device has (ethtool -L).
func (s *Settings) SetChannels(link string, rx, tx, combined int) error {
	return s.set(Change{Kind: "channels", Target: link, Now: fmt.Sprintf(channelsFormat, rx, tx, combined)})
}

// SetFeature turns an offload on or off, by the kernel's name for it:
// "rx-vlan-hw-parse" is what ethtool -K calls rxvlan.
func (s *Settings) SetFeature(link, feature string, on bool) error {
	return s.set(Change{Kind: "feature", Target: link, Key: feature, Now: onOff(on)})
}

// MountBPF makes sure that a directory is in a BPF file system, and mounts one
// there if it is not. The directory is made, and stays.
func (s *Settings) MountBPF(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("mount BPF file system: %w", err)
	}
	return s.set(Change{Kind: "bpffs", Target: path, Now: mounted})
}

// knob reads and writes one kind of setting. read returns the index of the
// link that it belongs to, and an error that wraps fs.ErrNotExist if it is
// gone.
type knob struct {
	read  func(Change) (value string, index int, err error)
	write func(c Change, value string) error
}

var errInUse = errors.New("in use")

const (
	mounted        = "mounted"
	channelsFormat = "rx %d tx %d combined %d"
)

var knobs = map[string]*knob{
	"mtu": {
		read: linkKnob(func(l netlink.Link, _ string) (string, error) { return strconv.Itoa(l.Attrs().MTU), nil }),
		write: func(c Change, value string) error {
			mtu, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(byName(c), mtu)
		},
	},
	"promiscuous": {
		read: linkKnob(func(l netlink.Link, _ string) (string, error) {
			return onOff(l.Attrs().RawFlags&unix.IFF_PROMISC != 0), nil
		}),
		write: func(c Change, value string) error {
			if value == onOff(true) {
				return netlink.SetPromiscOn(byName(c))
			}
			return netlink.SetPromiscOff(byName(c))
		},
	},
	"channels": {
		read: linkKnob(func(l netlink.Link, _ string) (string, error) {
			n, err := ReadChannels(l.Attrs().Name)
			return fmt.Sprintf(channelsFormat, n.RX-n.Combined, n.TX-n.Combined, n.Combined), err
		}),
		write: writeChannels,
	},
	"feature": {
		read: linkKnob(readFeature),
		write: func(c Change, value string) error {
			return withEthtool(func(e *ethtool.Ethtool) error {
				return e.Change(c.Target, map[string]bool{c.Key: value == onOff(true)})
			})
		},
	},
	"bpffs": {
		read: func(c Change) (string, int, error) {
			var st unix.Statfs_t
			err := unix.Statfs(c.Target, &st)
			if err == nil && st.Type == unix.BPF_FS_MAGIC {
				return mounted, 0, nil
			}
			return "", 0, err
		},
		write: func(c Change, value string) error {
			if value == mounted {
				if err := unix.Mount("bpf", c.Target, "bpf", 0, "mode=0700"); err != nil {
					return fmt.Errorf("mount (needs CAP_SYS_ADMIN): %w", err)
				}
				return nil
			}
			pins, err := os.ReadDir(c.Target)
			if err != nil {
				return err
			}
			// The kernel puts iterators of its own into every one (bpf_preload).
			pins = slices.DeleteFunc(pins, func(p fs.DirEntry) bool { return p.Name() == "maps.debug" || p.Name() == "progs.debug" })
			if len(pins) > 0 {
				return fmt.Errorf("%w, it has pins: %s and others", errInUse, pins[0].Name())
			}
			return unix.Unmount(c.Target, 0)
		},
	},
}

func linkKnob(read func(netlink.Link, string) (string, error)) func(Change) (string, int, error) {
	return func(c Change) (string, int, error) {
		link, err := netlink.LinkByName(c.Target)
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return "", 0, fmt.Errorf("no link %s: %w", c.Target, fs.ErrNotExist)
		}
		if err != nil {
			return "", 0, err
		}
		value, err := read(link, c.Key)
		return value, link.Attrs().Index, err
	}
}

func byName(c Change) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: c.Target, Index: c.Index}}
}

func writeChannels(c Change, value string) error {
	var rx, tx, combined uint32
	if _, err := fmt.Sscanf(value, channelsFormat, &rx, &tx, &combined); err != nil {
		return err
	}
	return withEthtool(func(e *ethtool.Ethtool) error {
		n, err := e.GetChannels(c.Target)
		if err != nil {
			return err
		}
		n.RxCount, n.TxCount, n.CombinedCount = rx, tx, combined
		_, err = e.SetChannels(c.Target, n)
		return err
	})
}

func readFeature(l netlink.Link, feature string) (value string, err error) {
	err = withEthtool(func(e *ethtool.Ethtool) error {
		features, err := e.Features(l.Attrs().Name)
		if err != nil {
			return err
		}
		on, there := features[feature]
		if !there {
			return fmt.Errorf("the driver of %s has no feature %q", l.Attrs().Name, feature)
		}
		value = onOff(on)
		return nil
	})
	return value, err
}

func withEthtool(f func(*ethtool.Ethtool) error) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool socket: %w", err)
	}
	defer e.Close()
	return f(e)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
