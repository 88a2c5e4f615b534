// SPDX-License-Identifier: Apache-2.0

// Package dnsproxy is a name server for a pod that passes each query on to the servers
// of the network service that the name belongs to, or to those the pod had before.
//
// Messages are passed on as they are; of a query only the name is looked at (RFC 1035).
package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

const (
	// port of the servers that queries are passed on to.
	port = 53
	// maxQueries at the same time; more are dropped, and their clients ask again.
	maxQueries = 512
)

// Proxy serves names over UDP and TCP.
type Proxy struct {
	packets net.PacketConn
	streams net.Listener
	slots   chan struct{}
	serving sync.WaitGroup
	cancel  context.CancelFunc
	ask     func(ctx context.Context, network string, server netip.AddrPort, query []byte) ([]byte, error)

	mu        sync.RWMutex
	configs   map[string][]*networkservice.DNSConfig
	fallbacks []netip.AddrPort
}

// Listen serves at address until Close.
func Listen(address netip.AddrPort) (*Proxy, error) {
	packets, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return nil, fmt.Errorf("serve names: %w", err)
	}
	// The same port for both, also where address leaves the choice to the kernel.
	actual := packets.LocalAddr().(*net.UDPAddr).AddrPort()
	streams, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(actual))
	if err != nil {
		_ = packets.Close()
		return nil, fmt.Errorf("serve names: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		packets: packets, streams: streams, cancel: cancel, ask: exchange,
		slots:   make(chan struct{}, maxQueries),
		configs: make(map[string][]*networkservice.DNSConfig),
	}
	p.serving.Go(func() { p.servePackets(ctx) })
	p.serving.Go(func() { p.serveStreams(ctx) })
	return p, nil
}

// Addr is where the proxy serves.
func (p *Proxy) Addr() netip.AddrPort { return p.packets.LocalAddr().(*net.UDPAddr).AddrPort() }

// Set makes configs those of the connection with this id, in place of what it had; none
// forgets the connection.
func (p *Proxy) Set(id string, configs []*networkservice.DNSConfig) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(configs) == 0 {
		delete(p.configs, id)
		return
	}
	p.configs[id] = configs
}

// Fallback sets the servers for names that no configuration covers, or that its servers
// do not know.
func (p *Proxy) Fallback(servers []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fallbacks = nil
	for _, server := range servers {
		p.fallbacks = append(p.fallbacks, netip.AddrPortFrom(server, port))
	}
}

// Empty tells whether no connection has a configuration.
func (p *Proxy) Empty() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.configs) == 0
}

// Domains are the search domains of all connections, sorted.
func (p *Proxy) Domains() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var domains []string
	for _, configs := range p.configs {
		for _, config := range configs {
			domains = append(domains, config.GetSearchDomains()...)
		}
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// Close ends serving and waits for the queries under way.
func (p *Proxy) Close() error {
	p.cancel()
	err := errors.Join(p.packets.Close(), p.streams.Close())
	p.serving.Wait()
	return err
}

// servers returns who to ask for a name, in groups: those of the most specific domain
// first, then those of connections that cover every name, then the fallbacks.
func (p *Proxy) servers(name string) (groups [][]netip.AddrPort) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var specific, general []netip.AddrPort
	longest := 0
	for _, configs := range p.configs {
		for _, config := range configs {
			if len(config.GetSearchDomains()) == 0 {
				general = append(general, addresses(config)...)
				continue
			}
			for _, domain := range config.GetSearchDomains() {
				switch labels := within(name, domain); {
				case labels == 0 || labels < longest:
				case labels > longest:
					longest, specific = labels, addresses(config)
				default:
					specific = append(specific, addresses(config)...)
				}
			}
		}
	}
	for _, group := range [][]netip.AddrPort{specific, general, p.fallbacks} {
		// A server that is the proxy itself would ask itself for ever.
		group = slices.DeleteFunc(slices.Clone(group), func(server netip.AddrPort) bool { return server == p.Addr() })
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// within returns how many labels the domain has if name lies in it, else 0.
func within(name, domain string) int {
	name, domain = canonical(name), canonical(domain)
	if domain == "" || name != domain && !strings.HasSuffix(name, "."+domain) {
		return 0
	}
	return strings.Count(domain, ".") + 1
}

func canonical(name string) string { return strings.ToLower(strings.Trim(name, ".")) }

func addresses(config *networkservice.DNSConfig) (servers []netip.AddrPort) {
	for _, text := range config.GetDnsServerIps() {
		if addr, err := netip.ParseAddr(text); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, port))
		}
	}
	return servers
}

// answer passes query on and returns the reply for the client, nil when there is
// nothing to say to it.
func (p *Proxy) answer(ctx context.Context, network string, query []byte) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil || header.Response {
		return nil
	}
	question, err := parser.Question()
	if err != nil {
		return failure(header, dnsmessage.Question{}, dnsmessage.RCodeFormatError)
	}
	var best []byte
	for _, group := range p.servers(question.Name.String()) {
		reply, rcode := p.askAll(ctx, network, group, query)
		if reply != nil && rcode == dnsmessage.RCodeSuccess {
			return reply
		}
		// "No such name" says more than no answer at all.
		if reply != nil && (best == nil || rcode == dnsmessage.RCodeNameError) {
			best = reply
		}
	}
	if best != nil {
		return best
	}
	return failure(header, question, dnsmessage.RCodeServerFailure)
}

// askAll asks all servers of a group at once. The first success wins, else the first
// "no such name", else any reply.
func (p *Proxy) askAll(ctx context.Context, network string, servers []netip.AddrPort, query []byte) (best []byte, bestCode dnsmessage.RCode) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	replies := make(chan []byte, len(servers))
	for _, server := range servers {
		p.serving.Go(func() {
			reply, err := p.ask(ctx, network, server, query)
			if err != nil {
				reply = nil
			}
			replies <- reply
		})
	}
	for range servers {
		reply := <-replies
		if reply == nil {
			continue
		}
		var parser dnsmessage.Parser
		header, err := parser.Start(reply)
		if err != nil {
			continue
		}
		if header.RCode == dnsmessage.RCodeSuccess {
			return reply, header.RCode
		}
		if best == nil || header.RCode == dnsmessage.RCodeNameError {
			best, bestCode = reply, header.RCode
		}
	}
	return best, bestCode
}

func failure(query dnsmessage.Header, question dnsmessage.Question, code dnsmessage.RCode) []byte {
	message := dnsmessage.Message{Header: dnsmessage.Header{
		ID: query.ID, Response: true, OpCode: query.OpCode, RecursionDesired: query.RecursionDesired,
		RecursionAvailable: true, RCode: code,
	}}
	if question.Name.Length > 0 {
		message.Questions = []dnsmessage.Question{question}
	}
	packed, err := message.Pack()
	if err != nil {
		return nil
	}
	return packed
}
