// SPDX-License-Identifier: Apache-2.0

// Package netstack gives a program an IP stack of its own on a memif: addresses,
// routes, ARP and neighbour discovery, ICMP echo, TCP and UDP, without a kernel
// interface. The stack is gVisor's.
//
// There is one Stack for each connection. Nothing passes from one to another, their
// addresses may overlap, and each goes away as a whole. Table finds the one that leads
// to an address.
package netstack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// nicID is the number of a stack's only interface.
const nicID tcpip.NICID = 1

// DefaultMTU is that of an interface whose connection says nothing, as at the stock
// forwarder.
const DefaultMTU = 9000

// Options describe a Stack.
type Options struct {
	// Interface is the memif, which the stack closes in the end, of the given mode.
	Interface *memif.Interface
	Mode      memif.Mode
	// Seed, such as the connection's id, makes the hardware address in Ethernet mode: the same
	// seed gives the same address.
	Seed string
}

// Stack is an IP stack with one interface. All methods are safe for concurrent use.
type Stack struct {
	ip   *stack.Stack
	link *link

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once

	mu     sync.Mutex
	config podnet.Config
	prefix prefixes
}

// New starts a stack. It has no addresses before Configure; peers of the memif may
// come and go all its life.
func New(opts Options) (*Stack, error) {
	s := &Stack{
		ip: stack.New(stack.Options{
			NetworkProtocols: []stack.NetworkProtocolFactory{
				ipv4.NewProtocol,
				// The zero Options send no router solicitations, listen to no
				// advertisements and detect no duplicate addresses: addresses
				// are the endpoint's to give.
				ipv6.NewProtocolWithOptions(ipv6.Options{AutoGenLinkLocal: true}),
				arp.NewProtocol,
			},
			TransportProtocols: []stack.TransportProtocolFactory{
				tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
			},
			RawFactory:  raw.EndpointFactory{},
			HandleLocal: true,
		}),
		link: newLink(opts),
	}
	if err := s.tune(); err != nil {
		s.ip.Destroy()
		return nil, err
	}
	if err := s.ip.CreateNIC(nicID, s.link); err != nil {
		s.ip.Destroy()
		return nil, fmt.Errorf("netstack: make the interface: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.running.Go(func() { s.link.run(ctx, s.forgetNeighbours) })
	return s, nil
}

// TCP's timers are for links within a node or a cluster, on which forwarders drop what
// is too much at once. A connection lives through minutes without a forwarder.
const (
	minRTO     = 50 * time.Millisecond
	maxRTO     = time.Second
	maxRetries = 255
)

// Sizes of TCP's buffers in bytes. What is on its way should fit into the rings and
// queues that it goes through, and a full send buffer is writable again when half of
// it is empty.
const (
	minBuffer     = 4 << 10
	defaultBuffer = 256 << 10
	maxBuffer     = 1 << 20
)

// tune sets TCP's options.
func (s *Stack) tune() error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	// Not RACK (RFC 8985): gVisor's takes segments for lost that are late, and repeats too many.
	recovery := tcpip.TCPRecovery(0)
	shortest, longest, retries := tcpip.TCPMinRTOOption(minRTO), tcpip.TCPMaxRTOOption(maxRTO), tcpip.TCPMaxRetriesOption(maxRetries)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxBuffer}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxBuffer}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &recovery, &shortest, &longest, &retries, &send, &receive} {
		if err := s.ip.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("netstack: set TCP's %T: %v", option, err)
		}
	}
	return nil
}

// Close ends everything that uses the stack, and the memif.
func (s *Stack) Close() error {
	var err error
	s.closing.Do(func() {
		// Connections are reset while packets can still go out.
		s.ip.Close()
		s.stop()
		s.running.Wait()
		err = s.link.iface.Load().Close()
		s.ip.Wait()
	})
	return err
}

// Replace puts the stack on another memif of the same mode, and closes the one that it
// was on. What the stack has, TCP connections too, stays. It must not be called
// together with or after Close.
func (s *Stack) Replace(iface *memif.Interface) {
	_ = s.link.iface.Swap(iface).Close()
}

// Statistics of the memif.
func (s *Stack) Statistics() memif.Statistics { return s.link.iface.Load().Statistics() }

// Connected tells whether there is a peer.
func (s *Stack) Connected() bool { return s.link.up() }

// AwaitPeer waits until there is a peer that packets go to, or ctx ends.
func (s *Stack) AwaitPeer(ctx context.Context) bool {
	for !s.Connected() {
		select {
		case <-ctx.Done():
			return s.Connected()
		case <-time.After(time.Millisecond):
		}
	}
	return true
}

// HardwareAddr is the interface's address in Ethernet mode, nil in IP mode.
func (s *Stack) HardwareAddr() net.HardwareAddr {
	if s.link.mode == memif.IP {
		return nil
	}
	return net.HardwareAddr(s.link.LinkAddress())
}

// macOf makes a locally administered unicast address.
func macOf(seed string) tcpip.LinkAddress {
	sum := sha256.Sum256([]byte("memif " + seed))
	mac := sum[:header.EthernetAddressSize]
	mac[0] = mac[0]&^1 | 2
	return tcpip.LinkAddress(mac)
}

// failure makes an error of one of gVisor's.
func failure(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.String())
}
