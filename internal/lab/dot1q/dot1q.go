// SPDX-License-Identifier: Apache-2.0

// Package dot1q makes an interface an access port of a VLAN (IEEE 802.1Q): the
// host behind it speaks untagged Ethernet, and on the link there are tagged
// frames. It is what a VLAN interface of Linux does, for tests on kernels
// without module 8021q, by a few BPF instructions on either way (tcx).
package dot1q

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Access is an interface that has become an access port.
type Access struct {
	undo []func() error
}

// Attach makes an interface in the caller's network namespace an access port of
// the VLAN with the given id: frames that leave get its tag with priority 0, and
// of those that come in only the ones with this tag are let in, without it. An
// inner tag is none of its business.
//
// What leaves is finished as by a NIC: the tag is in the frame, and checksums
// are right. The port lasts until Close, or as long as the interface.
//
// An error wraps ebpf.ErrNotSupported if the kernel has neither tcx (Linux 6.6) nor
// BPF filters (modules sch_ingress and cls_bpf).
func Attach(name string, id uint16) (_ *Access, err error) {
	a := new(Access)
	defer func() {
		if err != nil {
			err = fmt.Errorf("make %s an access port of VLAN %d: %w", name, id, errors.Join(err, a.Close()))
		}
	}()
	if id == 0 || id > 4094 {
		return nil, errors.New("the id is not between 1 and 4094")
	}
	port, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if err := Finish(name); err != nil {
		return nil, err
	}
	if err := a.attach(port, ebpf.AttachTCXIngress, pop(id)); err != nil {
		return nil, err
	}
	if err := a.attach(port, ebpf.AttachTCXEgress, push(id)); err != nil {
		return nil, err
	}
	return a, nil
}

// Finish has Linux finish what leaves by a virtual interface, as a NIC would
// before the wire: left alone, a veth hands tags over beside the frame, checksums
// unfinished and segments uncut, which programs that read raw frames cannot use.
func Finish(name string) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool socket: %w", err)
	}
	defer e.Close()
	features := map[string]bool{"tx-checksum-ip-generic": false, "tx-vlan-hw-insert": false}
	if err := e.Change(name, features); err != nil {
		return fmt.Errorf("turn off transmit offloads of %s: %w", name, err)
	}
	return nil
}

// attach runs a program on one of the ways.
func (a *Access) attach(port netlink.Link, at ebpf.AttachType, instructions asm.Instructions) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "dot1q", Type: ebpf.SchedCLS, License: "GPL", Instructions: instructions})
	if err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	defer func() { _ = p.Close() }()
	l, err := link.AttachTCX(link.TCXOptions{Program: p, Interface: port.Attrs().Index, Attach: at})
	if errors.Is(err, ebpf.ErrNotSupported) { // before Linux 6.6
		return a.attachFilter(port, at, p)
	}
	if err != nil {
		return fmt.Errorf("attach program: %w", err)
	}
	a.undo = append(a.undo, l.Close)
	return nil
}

// attachFilter attaches a program as a filter of the interface's clsact qdisc.
func (a *Access) attachFilter(port netlink.Link, at ebpf.AttachType, p *ebpf.Program) (err error) {
	defer func() {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			err = fmt.Errorf("%w: %w", ebpf.ErrNotSupported, err)
		}
	}()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE) // Close may be called in another namespace
	if err != nil {
		return fmt.Errorf("open rtnetlink socket: %w", err)
	}
	a.undo = append(a.undo, func() error { h.Close(); return nil })
	index := port.Attrs().Index
	parent := uint32(netlink.HANDLE_MIN_EGRESS)
	if at == ebpf.AttachTCXIngress {
		parent = netlink.HANDLE_MIN_INGRESS
		clsact := &netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
			QdiscType:  "clsact",
		}
		if err := h.QdiscAdd(clsact); err != nil {
			return fmt.Errorf("add clsact qdisc: %w", err)
		}
		a.undo = append(a.undo, func() error {
			if err := h.QdiscDel(clsact); !errors.Is(err, unix.ENODEV) { // not gone with the interface
				return err
			}
			return nil
		})
	}
	if err := h.FilterAdd(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:           p.FD(),
		Name:         "dot1q",
		DirectAction: true,
	}); err != nil {
		return fmt.Errorf("attach program as a filter: %w", err)
	}
	return nil
}

// Close makes the interface an ordinary one again. Its offloads stay off.
func (a *Access) Close() error {
	var errs []error
	for _, undo := range slices.Backward(a.undo) {
		errs = append(errs, undo())
	}
	a.undo = nil
	return errors.Join(errs...)
}

// Verdicts of programs of tcx, which are those of filters, and fields of struct __sk_buff (linux/bpf.h).
const (
	next = -1 // TCX_NEXT
	drop = 2  // TCX_DROP

	vlanPresent = 20
	vlanTCI     = 24
	vlanProto   = 28
)

// type8021Q is the EtherType of a tag.
const type8021Q = 0x8100

// pop lets frames of the VLAN in. The kernel has taken the outermost tag out of
// the frame by then.
func pop(id uint16) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, vlanPresent, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "drop"),
		asm.LoadMem(asm.R2, asm.R1, vlanProto, asm.Word),
		asm.JNE.Imm(asm.R2, network(type8021Q), "drop"),
		asm.LoadMem(asm.R2, asm.R1, vlanTCI, asm.Word),
		asm.And.Imm(asm.R2, 0xfff),
		asm.JNE.Imm(asm.R2, int32(id), "drop"),
		asm.FnSkbVlanPop.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R0, next),
		asm.Return(),
		asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"),
		asm.Return(),
	}
}

func push(id uint16) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, network(type8021Q)),
		asm.Mov.Imm(asm.R3, int32(id)),
		asm.FnSkbVlanPush.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R0, next),
		asm.Return(),
		asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"),
		asm.Return(),
	}
}

// network is an EtherType as the kernel keeps it, in network order.
func network(etherType uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType)))
}
