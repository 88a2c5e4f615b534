// SPDX-License-Identifier: Apache-2.0

package dnsproxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// zones is a fake Internet: by server the names it knows, with their address. A server
// that is not in it does not answer.
type zones map[string]map[string][4]byte

// serve runs a name server for each of them on a free loopback port, and returns how
// to reach them.
func (z zones) serve(t *testing.T) (reach func(netip.AddrPort) netip.AddrPort, asked func(server string) int) {
	t.Helper()
	ports := make(map[string]netip.AddrPort)
	var mu sync.Mutex
	counts := make(map[string]int)
	for server, names := range z {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		require.NoError(t, err)
		var wg sync.WaitGroup
		t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
		ports[server] = conn.LocalAddr().(*net.UDPAddr).AddrPort()
		wg.Go(func() {
			buf := make([]byte, 4096)
			for {
				n, client, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				mu.Lock()
				counts[server]++
				mu.Unlock()
				// Noise that a proxy must not take for the reply.
				_, _ = conn.WriteTo([]byte("x"), client)
				_, _ = conn.WriteTo(lookup(t, names, buf[:n]), client)
			}
		})
	}
	return func(server netip.AddrPort) netip.AddrPort { return ports[server.Addr().String()] },
		func(server string) int { mu.Lock(); defer mu.Unlock(); return counts[server] }
}

func lookup(t *testing.T, names map[string][4]byte, query []byte) []byte {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		t.Errorf("the server got %x: %v", query, err)
		return nil
	}
	message.Response = true
	address, known := names[message.Questions[0].Name.String()]
	if known {
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: message.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 5},
			Body:   &dnsmessage.AResource{A: address},
		}}
	} else {
		message.RCode = dnsmessage.RCodeNameError
	}
	packed, err := message.Pack()
	if err != nil {
		t.Error(err)
	}
	return packed
}

func start(t *testing.T, z zones, fallbacks ...string) (p *Proxy, asked func(string) int) {
	t.Helper()
	var addrs []netip.Addr
	for _, f := range fallbacks {
		addrs = append(addrs, netip.MustParseAddr(f))
	}
	p, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(t, err)
	p.Fallback(addrs)
	t.Cleanup(func() { _ = p.Close() })
	reach, asked := z.serve(t)
	p.ask = func(ctx context.Context, _ string, server netip.AddrPort, query []byte) ([]byte, error) {
		if to := reach(server); to.IsValid() {
			return exchange(ctx, "udp", to, query)
		}
		return nil, errors.New("unreachable")
	}
	return p, asked
}

// resolve asks the proxy as a resolver library does.
func resolve(t *testing.T, p *Proxy, network, name string) (string, error) {
	t.Helper()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, p.Addr().String())
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ips, err := resolver.LookupIP(ctx, "ip4", name)
	if err != nil {
		return "", err
	}
	return ips[0].String(), nil
}

func config(servers []string, domains ...string) *networkservice.DNSConfig {
	return &networkservice.DNSConfig{DnsServerIps: servers, SearchDomains: domains}
}

func TestNamesGoToTheServersOfTheirDomain(t *testing.T) {
	p, asked := start(t, zones{
		"10.0.0.1": {"web.corp.": {10, 0, 0, 80}, "db.corp.": {10, 0, 0, 81}},
		"10.0.0.2": {"web.deep.corp.": {10, 0, 0, 90}},
		"10.0.0.3": {"other.org.": {10, 0, 0, 70}},
		"8.8.8.8":  {"example.com.": {93, 184, 0, 1}, "web.corp.": {6, 6, 6, 6}},
	}, "8.8.8.8")
	p.Set("a", []*networkservice.DNSConfig{config([]string{"10.0.0.1"}, "corp"), config([]string{"10.0.0.2"}, "Deep.Corp.")})
	p.Set("b", []*networkservice.DNSConfig{config([]string{"10.0.0.3", "not an address"})})
	require.Equal(t, []string{"Deep.Corp.", "corp"}, p.Domains())

	for name, want := range map[string]string{
		"web.corp.":      "10.0.0.80",
		"web.deep.corp.": "10.0.0.90",
		"other.org.":     "10.0.0.70",
		"example.com.":   "93.184.0.1",
	} {
		for _, network := range []string{"udp", "tcp"} {
			got, err := resolve(t, p, network, name)
			require.NoError(t, err, "%s over %s", name, network)
			require.Equal(t, want, got, "%s over %s", name, network)
		}
	}

	_, err := resolve(t, p, "udp", "nowhere.corp.")
	var dnsErr *net.DNSError
	require.ErrorAs(t, err, &dnsErr)
	require.True(t, dnsErr.IsNotFound, "%v", err)

	before := asked("8.8.8.8")
	_, err = resolve(t, p, "udp", "db.corp.")
	require.NoError(t, err)
	require.Equal(t, before, asked("8.8.8.8"), "a name of the service was told to the pod's old server")

	p.Set("a", nil)
	p.Set("b", nil)
	got, err := resolve(t, p, "udp", "web.corp.")
	require.NoError(t, err)
	require.Equal(t, "6.6.6.6", got, "a closed connection's servers are still asked")
	require.Empty(t, p.Domains())
}

func TestOneOfSeveralServersIsEnough(t *testing.T) {
	p, _ := start(t, zones{
		"10.0.0.1": {}, // knows nothing
		"10.0.0.3": {"web.corp.": {10, 0, 0, 80}},
	})
	// 10.0.0.2 does not answer at all.
	p.Set("a", []*networkservice.DNSConfig{config([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "corp")})
	got, err := resolve(t, p, "udp", "web.corp.")
	require.NoError(t, err)
	require.Equal(t, "10.0.0.80", got)
}

func exchangeRaw(t *testing.T, p *Proxy, query []byte) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	reply, err := exchange(ctx, "udp", p.Addr(), query)
	require.NoError(t, err)
	return reply
}

func TestWithoutServersTheClientIsToldSo(t *testing.T) {
	p, _ := start(t, nil)
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.b."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packed, err := query.Pack()
	require.NoError(t, err)
	var reply dnsmessage.Message
	require.NoError(t, reply.Unpack(exchangeRaw(t, p, packed)))
	require.Equal(t, dnsmessage.RCodeServerFailure, reply.RCode)
	require.True(t, reply.Response)
	require.Equal(t, uint16(7), reply.ID)
	require.Equal(t, query.Questions, reply.Questions)

	// A header that promises a question which is not there.
	require.NoError(t, reply.Unpack(exchangeRaw(t, p, packed[:headerSize])))
	require.Equal(t, dnsmessage.RCodeFormatError, reply.RCode)
}

func TestRubbishIsIgnoredAndTheProxyGoesOn(t *testing.T) {
	p, _ := start(t, zones{"8.8.8.8": {"a.b.": {1, 2, 3, 4}}}, "8.8.8.8")
	for _, network := range []string{"udp", "tcp"} {
		conn, err := net.Dial(network, p.Addr().String())
		require.NoError(t, err)
		for _, rubbish := range []string{"", "x", "\xff\xff\x80\x00", "\x00\x01\x02"} {
			_, _ = conn.Write([]byte(rubbish))
		}
		_ = conn.Close()
	}
	got, err := resolve(t, p, "tcp", "a.b.")
	require.NoError(t, err)
	require.Equal(t, "1.2.3.4", got)
}

func TestTheProxyNeverAsksItself(t *testing.T) {
	p, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(t, err)
	defer func() { _ = p.Close() }()
	p.fallbacks = []netip.AddrPort{p.Addr()}
	require.Empty(t, p.servers("a.b."))
}

func TestATakenPortIsAnErrorAndCloseFreesIt(t *testing.T) {
	p, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	require.NoError(t, err)
	_, err = Listen(p.Addr())
	require.ErrorContains(t, err, "serve names")
	require.NoError(t, p.Close())
	again, err := Listen(p.Addr())
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func FuzzAnswer(f *testing.F) {
	query := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.b."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	packed, err := query.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(packed[:headerSize])
	f.Add([]byte{})
	p, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = p.Close() })
	p.ask = func(_ context.Context, _ string, _ netip.AddrPort, query []byte) ([]byte, error) { return query, nil }
	p.fallbacks = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}
	f.Fuzz(func(t *testing.T, data []byte) {
		if reply := p.answer(t.Context(), "udp", data); reply != nil && len(reply) < headerSize {
			t.Fatalf("a reply of %d bytes", len(reply))
		}
	})
}
