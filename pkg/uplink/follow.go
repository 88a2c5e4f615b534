// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Two goroutines serve an uplink. follow reads the kernel's notifications:
// those of the link and of neighbours it takes over at once, those of routes,
// rules and addresses it passes on as "stale". tend does what takes requests:
// it asks for the routes again, for unknown neighbours, and for confirmation.

// subscribe opens the notification socket.
func subscribe(receiveBuffer int) (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to rtnetlink notifications: %w", err)
	}
	if receiveBuffer > 0 {
		if err := s.SetReceiveBufferSize(receiveBuffer, false); err != nil {
			s.Close()
			return nil, fmt.Errorf("set rtnetlink receive buffer: %w", err)
		}
	}
	return s, nil
}

func (u *Uplink) follow() {
	const pause = 100 * time.Millisecond
	for {
		messages, from, err := u.events.Receive()
		select {
		case <-u.stop:
			return
		default:
		}
		if err != nil {
			// Notifications were lost: what they said has to be asked for.
			u.expire()
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if errors.Is(err, unix.ENOBUFS) {
				u.lost.Add(1)
			} else {
				u.log("follow %s: %v", u.LinkName(), err)
				select {
				case <-u.stop:
					return
				case <-time.After(pause):
				}
			}
			continue
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
				u.followNeighbour(m.Data, m.Header.Type == unix.RTM_DELNEIGH)
			case unix.RTM_NEWLINK, unix.RTM_DELLINK:
				header := unix.NlMsghdr(m.Header)
				if link, err := netlink.LinkDeserialize(&header, m.Data); err == nil {
					u.followLink(link, m.Header.Type == unix.RTM_DELLINK)
				}
			case unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWRULE, unix.RTM_DELRULE:
				u.expire()
			}
		}
	}
}

// expire has everything asked for again.
func (u *Uplink) expire() {
	if !u.stale.Swap(true) {
		u.poke()
	}
}

// poke wakes tend. It never blocks.
func (u *Uplink) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *Uplink) followNeighbour(message []byte, deleted bool) {
	k, err := netlink.NeighDeserialize(message)
	if err != nil || k.LinkIndex != u.place.link.Attrs().Index {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := u.update(k, deleted); n != nil && !n.known() {
		u.poke()
	}
}

func (u *Uplink) followLink(link netlink.Link, deleted bool) {
	if link.Attrs().Index != u.place.link.Attrs().Index {
		return
	}
	state := stateOf(link)
	if deleted {
		state.up = false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.setLink(state) {
		for _, e := range u.hops {
			u.publish(e)
		}
		u.expire()
	}
	if deleted {
		u.log("uplink %s is gone", u.LinkName())
	}
}

// setLink takes over the state of the link and tells whether it differs. The
// caller holds mu.
func (u *Uplink) setLink(state *linkState) bool {
	old := u.link.Swap(state)
	if old.up != state.up {
		u.log("uplink %s went %s", u.LinkName(), map[bool]string{true: "up", false: "down"}[state.up])
		for _, n := range u.neighbours {
			n.inquiry = inquiry{} // whoever was silent may have been cut off
		}
	}
	if old.mac != state.mac || old.mtu != state.mtu {
		u.log("uplink %s has MTU %d and address %s", u.LinkName(), state.mtu, net.HardwareAddr(state.mac[:]))
	}
	return *old != *state
}
