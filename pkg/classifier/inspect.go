// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Mode is where in the receive path an XDP program runs.
type Mode uint8

// The modes.
const (
	// Auto asks for Native, and for Generic if that is not possible.
	Auto Mode = iota
	// Native runs in the driver, before the kernel has made a packet of the
	// frame. AF_XDP can be zero-copy.
	Native
	// Generic runs on any interface, later and slower. AF_XDP copies.
	Generic
	// Offload runs on the device itself. It is reported, never asked for.
	Offload
)

func (m Mode) String() string {
	switch m {
	case Auto:
		return "auto"
	case Native:
		return "native"
	case Generic:
		return "generic"
	case Offload:
		return "offload"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Program is an XDP program that is attached to an interface.
type Program struct {
	ID   uint32
	Mode Mode
	// Name and Tag (a hash of its code) are empty if this process may not ask
	// for them (CAP_SYS_ADMIN). The kernel keeps 15 bytes of the name.
	Name, Tag string
}

// Ours tells whether the program bears the name of the classifier. Whether a
// process may take it over is decided by the pinned link.
func (p Program) Ours() bool { return p.Name == bpfProgNsmClassifier }

// Owner is who is known to attach programs of this name; empty if unknown.
func (p Program) Owner() string {
	switch {
	case p.Ours():
		return "NSM forwarder"
	case p.Name == "xdp_dispatcher":
		return "dispatcher of libxdp or bpfman"
	case strings.HasPrefix(p.Name, "cil_xdp"):
		return "Cilium"
	case p.Name == "xdp_root":
		return "Katran"
	}
	return ""
}

// String is the program in words, such as "'cil_xdp_entry' (Cilium, id 7,
// native mode)".
func (p Program) String() string {
	name := "of unknown name"
	if p.Name != "" {
		name = "'" + p.Name + "'"
	}
	owner := p.Owner()
	if owner != "" {
		owner += ", "
	}
	return fmt.Sprintf("%s (%sid %d, %s mode)", name, owner, p.ID, p.Mode)
}

// ForeignProgramError says that someone else's XDP program is on the interface.
// It is never evicted: whoever attached it relies on it.
type ForeignProgramError struct {
	Interface string
	Program   Program
}

func (e *ForeignProgramError) Error() string {
	text := fmt.Sprintf("XDP program %s is attached to %s", e.Program, e.Interface)
	if e.Program.Ours() {
		return text + " by a forwarder that did not pin it in this pin folder: end that forwarder or use its folder"
	}
	return text + ": detach it, or use a mode of the forwarder that leaves XDP alone"
}

func foreign(iface string, programs []Program) error {
	return &ForeignProgramError{Interface: iface, Program: programs[0]}
}

// Status is what XDP finds on an interface.
type Status struct {
	Interface string
	Index     int
	// Programs are attached. The kernel allows one, beside one in the device.
	Programs []Program
	Support  Support
}

// Inspect tells which XDP programs are on an interface of the calling thread's
// network namespace and what its driver supports. It changes nothing and
// needs no privilege, but for the names of programs.
func Inspect(iface string) (*Status, error) {
	d, err := readDevice(iface)
	if err != nil {
		return nil, fmt.Errorf("inspect XDP: %w", err)
	}
	support, err := readSupport(d.index)
	if err != nil {
		return nil, fmt.Errorf("inspect XDP of %s: %w", iface, err)
	}
	return &Status{Interface: iface, Index: d.index, Programs: d.programs, Support: support}, nil
}

// device is an interface and its programs.
type device struct {
	index    int
	programs []Program
}

// Attributes in IFLA_XDP (linux/if_link.h).
const (
	iflaXDPDriverProgram  = 5
	iflaXDPGenericProgram = 6
	iflaXDPDeviceProgram  = 7
)

func readDevice(name string) (*device, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %q: %w", name, err)
	}
	d := &device{index: l.Attrs().Index}

	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(d.index)
	req.AddData(msg)
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("read interface %q: %w", name, err)
	}
	for _, answer := range answers {
		attrs, err := nl.ParseRouteAttr(answer[unix.SizeofIfInfomsg:])
		if err != nil {
			return nil, fmt.Errorf("read interface %q: %w", name, err)
		}
		for _, attr := range attrs {
			if attr.Attr.Type&nl.NLA_TYPE_MASK != unix.IFLA_XDP {
				continue
			}
			if d.programs, err = parsePrograms(attr.Value); err != nil {
				return nil, fmt.Errorf("read XDP state of %q: %w", name, err)
			}
		}
	}
	return d, nil
}

func parsePrograms(xdp []byte) ([]Program, error) {
	attrs, err := nl.ParseRouteAttr(xdp)
	if err != nil {
		return nil, err
	}
	modes := map[uint16]Mode{iflaXDPDriverProgram: Native, iflaXDPGenericProgram: Generic, iflaXDPDeviceProgram: Offload}
	var programs []Program
	for _, attr := range attrs {
		mode, ok := modes[attr.Attr.Type]
		if !ok || len(attr.Value) < 4 {
			continue
		}
		programs = append(programs, describe(nl.NativeEndian().Uint32(attr.Value), mode))
	}
	return programs, nil
}

// describe leaves the name empty if it cannot be had: the program may be gone
// meanwhile, or not ours to open.
func describe(id uint32, mode Mode) Program {
	p := Program{ID: id, Mode: mode}
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return p
	}
	defer prog.Close()
	if info, err := prog.Info(); err == nil {
		p.Name, p.Tag = info.Name, info.Tag
	}
	return p
}
