// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// lab is what came of trying things in a namespace of its own. A nil error
// means that the thing works.
type lab struct {
	// err: there is no such namespace, so nothing could be tried.
	err error

	program, frags, sockets error // loading an XDP program, one for large frames, an XSKMAP
	veth, vlan              error // the VLAN is one on the veth
	native, generic         error // attaching to the veth, by BPF links
	afxdp                   error // receiving a frame by a socket
	tap, vxlan, wireguard   error
	sysctl                  error // changing a setting of the namespace
}

var errNotTried = errors.New("not tried")

func experiment() lab {
	l := lab{
		program: errNotTried, frags: errNotTried, sockets: errNotTried, veth: errNotTried, vlan: errNotTried,
		native: errNotTried, generic: errNotTried, afxdp: errNotTried, tap: errNotTried, vxlan: errNotTried, wireguard: errNotTried, sysctl: errNotTried,
	}
	path, remove, err := netns.New()
	if err != nil {
		l.err = err
		return l
	}
	// The devices go with their namespace.
	defer func() { _ = remove() }()
	l.err = netns.Do(path, func() error {
		l.run()
		return nil
	})
	return l
}

// run is in the namespace.
func (l *lab) run() {
	l.tap = tryTAP()
	l.sysctl = os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0)
	l.vxlan = netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan"}, VxlanId: 1, Port: 4789})
	l.wireguard = netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wireguard"}})

	near, far, err := veth()
	if l.veth = err; err == nil {
		l.vlan = netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "vlan", ParentIndex: near}, VlanId: 100})
	}

	program, err := passProgram(0)
	if l.program = err; err != nil {
		return
	}
	defer program.Close()
	large, err := passProgram(unix.BPF_F_XDP_HAS_FRAGS)
	if l.frags = err; err == nil {
		large.Close()
	}
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if l.sockets = err; err != nil {
		return
	}
	defer sockets.Close()

	if l.veth != nil {
		return
	}
	l.native = tryAttach(program, near, link.XDPDriverMode)
	l.generic = tryAttach(program, near, link.XDPGenericMode)
	l.afxdp = tryAFXDP(sockets, near, far)
}

func passProgram(flags uint32) (*ebpf.Program, error) {
	const xdpPass = 2
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "nsm_doctor", Type: ebpf.XDP, License: "GPL", Flags: flags,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
}

// redirectProgram gives every frame to the socket of its queue.
func redirectProgram(sockets *ebpf.Map) (*ebpf.Program, error) {
	const rxQueueIndex, xdpPass = 16, 2 // in struct xdp_md
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "nsm_doctor", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, rxQueueIndex, asm.Word),
			asm.LoadMapPtr(asm.R1, sockets.FD()),
			asm.Mov.Imm(asm.R3, xdpPass),
			asm.FnRedirectMap.Call(),
			asm.Return(),
		},
	})
}

func veth() (near, far int, err error) {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near", NumRxQueues: 1, NumTxQueues: 1}, PeerName: "far"}
	if err := netlink.LinkAdd(pair); err != nil {
		return 0, 0, fmt.Errorf("make veth pair: %w", err)
	}
	var index [2]int
	for i, name := range []string{"near", "far"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return 0, 0, err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return 0, 0, err
		}
		index[i] = l.Attrs().Index
	}
	return index[0], index[1], nil
}

func tryAttach(program *ebpf.Program, index int, mode link.XDPAttachFlags) error {
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: mode})
	if err != nil {
		return err
	}
	return l.Close()
}

// tryAFXDP sends a frame in at one end of the pair and waits for it at a socket
// on the other.
func tryAFXDP(sockets *ebpf.Map, near, far int) error {
	program, err := redirectProgram(sockets)
	if err != nil {
		return fmt.Errorf("load redirecting program: %w", err)
	}
	defer program.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: near})
	if err != nil {
		return fmt.Errorf("attach redirecting program: %w", err)
	}
	defer l.Close()
	s, err := xsk.Open(near, 0, xsk.Config{Mode: xsk.Copy, RxSize: 64, TxSize: 64, FillSize: 64, CompletionSize: 64})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := sockets.Put(uint32(0), uint32(s.FD())); err != nil {
		return fmt.Errorf("put socket into XSKMAP: %w", err)
	}
	return sendAndWait(s, far)
}

func sendAndWait(s *xsk.Socket, far int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	frame := make([]byte, 60)
	copy(frame, net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	frame[12], frame[13] = 0x88, 0xb5 // EtherType for experiments (IEEE 802)
	const patience, step = 2 * time.Second, 100 * time.Millisecond
	descs := make([]xsk.Desc, 64)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: far}); err != nil {
			return fmt.Errorf("send frame: %w", err)
		}
		if _, err := s.Wait(step); err != nil {
			return fmt.Errorf("wait for frame: %w", err)
		}
		for _, d := range descs[:s.Receive(descs)] {
			if got := s.Frame(d); len(got) == len(frame) && got[12] == frame[12] && got[13] == frame[13] {
				return nil
			}
		}
	}
	return fmt.Errorf("no frame arrived within %v", patience)
}

// tryTAP makes an interface of the kind that pods get. It goes with its
// descriptor.
func tryTAP() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("doctor")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("make TAP interface: %w", err)
	}
	return nil
}
