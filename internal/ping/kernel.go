// SPDX-License-Identifier: Apache-2.0

package ping

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelConn is a ping socket, or a raw one where ping sockets are not allowed.
type kernelConn struct {
	file *os.File
	conn syscall.RawConn
	raw  bool
	id   uint16
	dst  netip.Addr
	// connected is set when the kernel has found a route: from then on it tells of
	// errors on the way.
	connected atomic.Bool
	last      atomic.Uint32 // sequence number of the latest request
}

// Open makes a Conn on a socket of the kernel. An invalid src leaves the choice of the source
// address to the kernel.
func Open(src, dst netip.Addr, dontFragment bool) (Conn, error) {
	src, dst = src.Unmap(), dst.Unmap()
	if src.IsValid() && src.Is4() != dst.Is4() {
		return nil, errors.New("not of one address family")
	}
	family, protocol := unix.AF_INET, protocolICMP
	if dst.Is6() {
		family, protocol = unix.AF_INET6, protocolICMPv6
	}
	var errs error
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_RAW} {
		c := &kernelConn{raw: kind == unix.SOCK_RAW, id: NextID(), dst: dst}
		fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("make an ICMP socket: %w", err))
			continue
		}
		c.file = os.NewFile(uintptr(fd), "icmp")
		if c.conn, err = c.file.SyscallConn(); err == nil {
			err = c.setUp(fd, src, dontFragment)
		}
		if err != nil {
			_ = c.file.Close()
			errs = errors.Join(errs, err)
			continue
		}
		return c, nil
	}
	return nil, errs
}

func (c *kernelConn) setUp(fd int, src netip.Addr, dontFragment bool) error {
	level, discover, ttl := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_RECVTTL
	how := unix.IP_PMTUDISC_DONT
	if c.dst.Is6() {
		level, discover, ttl = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_RECVHOPLIMIT
		how = unix.IPV6_PMTUDISC_WANT
	}
	if dontFragment {
		how = unix.IP_PMTUDISC_DO // the same number in both families
	}
	if err := unix.SetsockoptInt(fd, level, discover, how); err != nil {
		return fmt.Errorf("choose whether to fragment: %w", err)
	}
	if c.dst.Is6() && dontFragment {
		if err := unix.SetsockoptInt(fd, level, unix.IPV6_DONTFRAG, 1); err != nil {
			return fmt.Errorf("choose not to fragment: %w", err)
		}
	}
	if err := unix.SetsockoptInt(fd, level, ttl, 1); err != nil {
		return fmt.Errorf("ask for hop limits: %w", err)
	}
	// Many answers may come at once.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	if !src.IsValid() {
		return nil
	}
	if err := unix.Bind(fd, sockaddr(src)); err != nil {
		return fmt.Errorf("bind to %s: %w", src, err)
	}
	return nil
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: zone(a)}
}

// zone is the interface of a link-local address, 0 for any.
func zone(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	if link, err := net.InterfaceByName(a.Zone()); err == nil {
		return uint32(link.Index)
	}
	number, _ := strconv.ParseUint(a.Zone(), 10, 32) // a name that is none is any
	return uint32(number)
}

func (c *kernelConn) Send(sequence uint16, data []byte) error {
	c.last.Store(uint32(sequence))
	message := AppendRequest(nil, c.dst.Is6(), c.id, sequence, data)
	if c.dst.Is4() {
		SetChecksum(message)
	}
	var sendErr error
	mtu := 0
	err := c.conn.Write(func(fd uintptr) bool {
		sendErr = c.sendOn(int(fd), message)
		if errors.Is(sendErr, unix.EMSGSIZE) {
			mtu = c.mtu(int(fd))
		}
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return explain(sendErr, mtu)
}

func (c *kernelConn) sendOn(fd int, message []byte) error {
	if !c.connected.Load() {
		if err := unix.Connect(fd, sockaddr(c.dst)); err != nil {
			return err
		}
		c.connected.Store(true)
	}
	for {
		err := unix.Send(fd, message, 0)
		// An error that is left from an earlier packet is told in Receive as well.
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// mtu of the path, as far as the kernel knows; 0 if it does not.
func (c *kernelConn) mtu(fd int) int {
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if c.dst.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return 0
	}
	return mtu
}

// explain makes the errors of this package of the kernel's.
func explain(err error, mtu int) error {
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		return &TooLongError{MTU: mtu}
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ECONNREFUSED):
		return &UnreachableError{Reason: err.Error()}
	}
	return err
}

func (c *kernelConn) Receive() (Answer, error) {
	var packet [1 << 16]byte
	var control [128]byte
	for {
		var n, controlLen int
		var from unix.Sockaddr
		var readErr error
		mtu := 0
		err := c.conn.Read(func(fd uintptr) bool {
			n, controlLen, _, from, readErr = unix.Recvmsg(int(fd), packet[:], control[:], 0)
			if errors.Is(readErr, unix.EMSGSIZE) {
				mtu = c.mtu(int(fd))
			}
			return !errors.Is(readErr, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return Answer{}, err
		case readErr != nil:
			// The kernel does not say which request an error answers.
			return Answer{Sequence: uint16(c.last.Load()), Err: explain(readErr, mtu)}, nil
		}
		if answer, ok := c.parse(packet[:n], control[:controlLen], from); ok {
			return answer, nil
		}
	}
}

func (c *kernelConn) parse(packet, control []byte, from unix.Sockaddr) (Answer, bool) {
	ttl := hopLimit(control)
	if c.raw && c.dst.Is4() {
		if len(packet) < 20 || len(packet) < int(packet[0]&0xf)*4 {
			return Answer{}, false
		}
		ttl = int(packet[8])
		packet = packet[int(packet[0]&0xf)*4:]
	}
	answer, id, ok := ParseAnswer(packet, c.dst.Is6())
	// A ping socket has an identifier of its own, which the kernel checks.
	if !ok || c.raw && id != c.id {
		return Answer{}, false
	}
	answer.TTL, answer.From = ttl, addrOf(from)
	return answer, answer.Err != nil || answer.From == c.dst.WithZone("")
}

func hopLimit(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if (m.Header.Type == unix.IP_TTL || m.Header.Type == unix.IPV6_HOPLIMIT) && len(m.Data) >= 1 {
			return int(m.Data[0]) // little-endian
		}
	}
	return 0
}

func addrOf(from unix.Sockaddr) netip.Addr {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}

func (c *kernelConn) Close() error { return c.file.Close() }
