// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// neighbour is a permanent entry; ours carries Protocol (NDA_PROTOCOL, Linux
// 5.0), which the netlink library has no field for.
type neighbour struct {
	addr netip.Addr
	mac  [6]byte
	ours bool
}

// NDA_PROTOCOL and NDA_IFINDEX of linux/neighbour.h.
const (
	ndaProtocol = 12
	ndaIfIndex  = 8
)

func (n neighbour) address() netip.Addr { return n.addr }

func itself[T any](x T) T { return x }

// neighbours lists the permanent entries of an interface.
func (p *pod) neighbours(index int) ([]neighbour, error) {
	return complete(func() ([]neighbour, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.AddData(&netlink.Ndmsg{Index: uint32(index)})
		// Linux heeds the attribute, and not the header.
		req.AddData(nl.NewRtAttr(ndaIfIndex, nl.Uint32Attr(uint32(index))))
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
		var all []neighbour
		for _, m := range msgs {
			entry, err := netlink.NeighDeserialize(m)
			if err != nil {
				return nil, fmt.Errorf("read neighbour: %w", err)
			}
			addr, ok := netip.AddrFromSlice(entry.IP)
			if !ok || entry.LinkIndex != index || entry.State&unix.NUD_PERMANENT == 0 || len(entry.HardwareAddr) != 6 {
				continue
			}
			attrs, err := nl.ParseRouteAttrAsMap(m[unix.SizeofNdMsg:])
			if err != nil {
				return nil, fmt.Errorf("read neighbour: %w", err)
			}
			protocol := attrs[ndaProtocol].Value
			all = append(all, neighbour{
				addr: addr.Unmap(),
				mac:  [6]byte(entry.HardwareAddr),
				ours: len(protocol) == 1 && protocol[0] == Protocol,
			})
		}
		return all, err
	})
}

func (p *pod) putNeighbour(n neighbour) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	family := unix.AF_INET
	if n.addr.Is6() {
		family = unix.AF_INET6
	}
	req.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(p.link.Attrs().Index), State: unix.NUD_PERMANENT})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, n.addr.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.NDA_LLADDR, n.mac[:]))
	if n.ours {
		req.AddData(nl.NewRtAttr(ndaProtocol, []byte{Protocol}))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// dropNeighbour takes an entry away, if it has not gone with an address.
func (p *pod) dropNeighbour(n neighbour) error {
	err := p.NeighDel(&netlink.Neigh{LinkIndex: p.link.Attrs().Index, IP: net.IP(n.addr.AsSlice())})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (p *pod) setNeighbours(now *state, want []Neighbour) error {
	var wanted []neighbour
	if len(p.link.Attrs().HardwareAddr) > 0 {
		for _, n := range want {
			wanted = append(wanted, neighbour{n.Addr, [6]byte(n.HardwareAddr), true})
		}
	}
	for _, n := range missing(wanted, now.neigh, itself) {
		if err := change(func() error { return p.putNeighbour(n) }, "set neighbour %s", n.addr); err != nil {
			return err
		}
	}
	for _, n := range missing(now.neigh, wanted, neighbour.address) {
		if !n.ours {
			continue
		}
		if err := change(func() error { return p.dropNeighbour(n) }, "remove neighbour %s", n.addr); err != nil {
			return err
		}
	}
	return nil
}
