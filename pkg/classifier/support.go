// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Support is what the driver of an interface says of its XDP (netdev family of
// generic netlink, Linux 6.3). Generic XDP works on every interface.
type Support struct {
	// Known is false if the kernel is too old to tell; the rest is then zero.
	Known bool
	// Native: programs run in the driver.
	Native bool
	// Redirect: programs in the driver can redirect, as AF_XDP needs.
	Redirect bool
	// ZeroCopy: AF_XDP sockets can share their memory with the device.
	ZeroCopy bool
	// MultiBuffer: programs in the driver see frames larger than a page.
	MultiBuffer bool
	// ZeroCopySegments is how many buffers a frame of a zero-copy socket may
	// span; 1 means that jumbo frames need copy mode. Linux 6.6.
	ZeroCopySegments int
}

// Numbers of linux/netdev.h.
const (
	netdevVersion   = 1
	netdevCmdDevGet = 1

	netdevDevIfindex     = 1
	netdevDevXDPFeatures = 3
	netdevDevMaxSegments = 4

	netdevXDPBasic    = 1 << 0
	netdevXDPRedirect = 1 << 1
	netdevXDPZeroCopy = 1 << 3
	netdevXDPRxSG     = 1 << 5
)

// genericHeader is struct genlmsghdr: command, version and two bytes that
// the kernel wants to be zero, which nl.Genlmsg leaves to chance.
type genericHeader [nl.SizeofGenlmsg]byte

func (h genericHeader) Len() int          { return len(h) }
func (h genericHeader) Serialize() []byte { return h[:] }

func readSupport(index int) (Support, error) {
	family, err := netlink.GenlFamilyGet("netdev")
	if errors.Is(err, unix.ENOENT) {
		return Support{}, nil
	}
	if err != nil {
		return Support{}, fmt.Errorf("find netdev family: %w", err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genericHeader{netdevCmdDevGet, netdevVersion})
	req.AddData(nl.NewRtAttr(netdevDevIfindex, nl.Uint32Attr(uint32(index))))
	answers, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return Support{}, fmt.Errorf("ask for XDP features: %w", err)
	}
	var s Support
	for _, answer := range answers {
		attrs, err := nl.ParseRouteAttr(answer[nl.SizeofGenlmsg:])
		if err != nil {
			return Support{}, fmt.Errorf("read XDP features: %w", err)
		}
		for _, attr := range attrs {
			switch {
			case attr.Attr.Type == netdevDevXDPFeatures && len(attr.Value) >= 8:
				flags := nl.NativeEndian().Uint64(attr.Value)
				s.Known = true
				s.Native = flags&netdevXDPBasic != 0
				s.Redirect = flags&netdevXDPRedirect != 0
				s.ZeroCopy = flags&netdevXDPZeroCopy != 0
				s.MultiBuffer = flags&netdevXDPRxSG != 0
			case attr.Attr.Type == netdevDevMaxSegments && len(attr.Value) >= 4:
				s.ZeroCopySegments = int(nl.NativeEndian().Uint32(attr.Value))
			}
		}
	}
	return s, nil
}
