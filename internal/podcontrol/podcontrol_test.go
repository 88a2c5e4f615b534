// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nsm-afxdp/forwarder/internal/inetd"
	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// callerEnv makes the test's binary a caller at the socket that it names.
const callerEnv = "NSM_TEST_CALLER"

func TestMain(m *testing.M) {
	if socket := os.Getenv(callerEnv); socket != "" {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_, _ = fmt.Fprintln(conn, `{"address":"10.0.0.2","ping":{"count":1,"timeout":1000000000}}`)
			_, _ = io.Copy(os.Stdout, conn)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const longEnough = 20 * time.Second

var names atomic.Uint32

func name(what string) string {
	return fmt.Sprintf("@nsm-podcontrol-%s-%d-%d", what, os.Getpid(), names.Add(1))
}

var (
	here  = netip.MustParseAddr("10.0.0.1")
	there = netip.MustParseAddr("10.0.0.2")
	mtu   = 1446
)

func stackOn(t *testing.T, iface *memif.Interface, own, peer netip.Addr) *netstack.Stack {
	t.Helper()
	s, err := netstack.New(netstack.Options{Interface: iface, Mode: memif.IP})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Configure(podnet.Config{
		MTU: mtu, Addresses: []netip.Prefix{netip.PrefixFrom(own, 32)}, Peers: []netip.Prefix{netip.PrefixFrom(peer, 32)},
	}))
	return s
}

// pod is a server with one memif connection, from here to there, where the test
// services are.
func pod(t *testing.T) (socket string, server *Server) {
	t.Helper()
	at := memif.Address{Socket: name("memif")}
	listener, err := memif.Listen(at)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	master, err := listener.Interface(memif.Config{Mode: memif.IP})
	require.NoError(t, err)
	slave, err := memif.Slave(at, memif.Config{Mode: memif.IP})
	require.NoError(t, err)
	endpoint, client := stackOn(t, master, there, here), stackOn(t, slave, here, there)
	services, err := inetd.Serve(endpoint)
	require.NoError(t, err)
	t.Cleanup(services.Close)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	require.True(t, client.AwaitPeer(ctx) && endpoint.AwaitPeer(ctx))
	table := new(netstack.Table)
	table.Put("id", client)
	socket = name("nsc")
	server, err = Listen(socket, table.Lookup)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return socket, server
}

// command runs one of Commands, as a program does.
func command(ctx context.Context, socket string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	program := service.Program{Name: "nsc", Config: new(struct{}), Run: func(context.Context) error { return nil }, Commands: Commands(socket)}
	code = program.Execute(ctx, args, &out, &err)
	return code, out.String(), err.String()
}

func TestPingTakesTheMemif(t *testing.T) {
	socket, _ := pod(t)
	code, out, stderr := command(t.Context(), socket, "ping", "-c", "3", "-i", "0.01", "10.0.0.2")
	require.Zero(t, code, stderr)
	require.Contains(t, out, "PING 10.0.0.2 56(84) bytes of data.\n64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=")
	require.Contains(t, out, "\n3 packets transmitted, 3 received, 0% packet loss, time ")
	require.Contains(t, out, "\nrtt min/avg/max = ")

	code, out, _ = command(t.Context(), socket, "ping", "-q", "-c", "100", "-l", "100", "-s", "1000", "10.0.0.2")
	require.Zero(t, code, out)
	require.NotContains(t, out, "icmp_seq")
	require.Contains(t, out, "100 packets transmitted, 100 received, 0% packet loss")
}

func TestPacketsThatAreTooLargeAreReported(t *testing.T) {
	socket, _ := pod(t)
	code, out, _ := command(t.Context(), socket, "ping", "-c", "2", "-i", "10ms", "-W", "10ms", "-s", "1419", "-M", "do", "10.0.0.2")
	require.Equal(t, 1, code)
	require.Contains(t, out, "message too long, mtu=1446")
	require.Contains(t, out, "2 packets transmitted, 0 received, 100% packet loss")
	code, out, _ = command(t.Context(), socket, "ping", "-c", "2", "-i", "10ms", "-s", "1418", "-M", "do", "10.0.0.2")
	require.Zero(t, code, out)
}

func TestThroughputTakesTheMemif(t *testing.T) {
	socket, _ := pod(t)
	for _, more := range [][]string{nil, {"-R"}, {"-u"}, {"-u", "-R"}, {"-P", "4"}} {
		code, out, stderr := command(t.Context(), socket, append([]string{"iperf", "-J", "-t", "0.2", "10.0.0.2"}, more...)...)
		require.Zero(t, code, stderr)
		var result map[string]any
		require.NoError(t, json.Unmarshal([]byte(out), &result), "nothing but JSON: %s", out)
		require.Positive(t, result["bytes"], "%v", more)
		require.Len(t, result, 7)
	}
	code, out, stderr := command(t.Context(), socket, "iperf", "-t", "1200ms", "10.0.0.2")
	require.Zero(t, code, stderr)
	require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 2, out)
}

func TestOtherAddressesTakeTheKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for ICMP sockets")
	}
	socket, _ := pod(t)
	for _, at := range []string{socket, name("nobody")} {
		code, out, stderr := command(t.Context(), at, "ping", "-c", "1", "127.0.0.1")
		require.Zero(t, code, stderr)
		require.Contains(t, out, "64 bytes from 127.0.0.1: icmp_seq=1")
	}
}

func TestWhatMakesNoSenseIsTwo(t *testing.T) {
	for _, args := range [][]string{
		{"ping"}, {"ping", "nowhere"}, {"ping", "10.0.0.2", "10.0.0.3"}, {"ping", "-s", "65508", "10.0.0.2"}, {"ping", "-M", "perhaps", "10.0.0.2"},
		{"ping", "-i", "-1", "10.0.0.2"}, {"ping", "0.0.0.0"}, {"ping", "ff02::1"}, {"iperf", "-t", "0", "10.0.0.2"}, {"iperf", "-P", "65", "10.0.0.2"},
	} {
		code, _, stderr := command(t.Context(), name("nobody"), args...)
		require.Equal(t, service.ExitUsage, code, "%v", args)
		require.NotEmpty(t, stderr, "%v", args)
	}
	socket, _ := pod(t)
	// Nobody has the services at our own address.
	code, _, stderr := command(t.Context(), socket, "iperf", "-t", "1", "10.0.0.1")
	require.Equal(t, service.ExitUsage, code)
	require.Contains(t, stderr, "test services of 10.0.0.1")
}

// interrupter calls a function when something that is printed contains a text.
type interrupter struct {
	bytes.Buffer
	text string
	call func()
}

func (i *interrupter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(i.text)) {
		i.call()
	}
	return i.Buffer.Write(p)
}

func TestAnInterruptedPingTellsWhatItHas(t *testing.T) {
	socket, _ := pod(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := interrupter{text: "icmp_seq=3", call: cancel}
	program := service.Program{Name: "nsc", Config: new(struct{}), Commands: Commands(socket)}
	require.Zero(t, program.Execute(ctx, []string{"ping", "-c", "0", "-i", "10ms", "10.0.0.2"}, &out, io.Discard))
	require.Contains(t, out.String(), "packet loss")
}

func TestACallerThatGoesEndsItsWork(t *testing.T) {
	socket, server := pod(t)
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	require.NoError(t, json.NewEncoder(conn).Encode(map[string]any{"address": "10.0.0.2", "ping": map[string]any{"interval": 1_000_000}}))
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Len(t, server.slots, 1)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return len(server.slots) == 0 }, longEnough, time.Millisecond)
}

func TestAServerThatGoesIsAnError(t *testing.T) {
	socket, server := pod(t)
	done := make(chan string, 1)
	go func() {
		code, out, stderr := command(t.Context(), socket, "ping", "-c", "0", "-i", "10ms", "10.0.0.2")
		done <- fmt.Sprint(code, out, stderr)
	}()
	require.Eventually(t, func() bool { return len(server.slots) == 1 }, longEnough, time.Millisecond)
	server.Close()
	// It ends with what it has, or at least tells why it does not.
	require.NotEmpty(t, <-done)
	_, err := net.Dial("unix", socket)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestOthersAreNotServed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to be somebody else")
	}
	socket, _ := pod(t)
	caller := func(uid uint32) string {
		self, err := os.Executable()
		require.NoError(t, err)
		file, err := os.Open(self)
		require.NoError(t, err)
		defer func() { _ = file.Close() }()
		cmd := exec.Command("/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{file}
		cmd.Env = []string{callerEnv + "=" + socket}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.Output()
		if err != nil {
			t.Skipf("cannot run as user %d: %v", uid, err)
		}
		return string(out)
	}
	require.Contains(t, caller(0), `"summary"`)
	require.Equal(t, `{"error":"not allowed: want user 0 or root"}`+"\n", caller(65534))
}

func TestBadRequestsAreAnswered(t *testing.T) {
	socket, server := pod(t)
	for _, line := range []string{
		"{}", "ping", "null", "[]", `{"address":"10.0.0.2"}`, `{"address":"10.0.0.2","ping":{},"throughput":{}}`,
		`{"address":"10.0.0.2","ping":{"count":-1}}`, `{"address":"10.0.0.2","ping":{"preload":99999999}}`,
		`{"address":"10.0.0.2","throughput":{"duration":1,"streams":1000000}}`, `{"address":"10.0.0.2","ping":{}} {}`,
		`{"address":"10.0.0.2","ping":{"unknown":1}}`, `{"address":"::","ping":{}}`,
	} {
		conn, err := net.Dial("unix", socket)
		require.NoError(t, err)
		_, err = fmt.Fprintln(conn, line)
		require.NoError(t, err)
		out, err := io.ReadAll(conn)
		require.NoError(t, err)
		var response Response
		require.NoError(t, json.Unmarshal(out, &response), "%s: %s", line, out)
		require.NotEmpty(t, response.Error, line)
		require.NoError(t, conn.Close())
	}
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write(bytes.Repeat([]byte("x"), 2*maxRequest))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, conn)
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	require.Eventually(t, func() bool { return len(server.slots) == 0 }, longEnough, time.Millisecond)
}

func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"address":"10.0.0.2","ping":{"count":1,"size":56,"interval":1000,"preload":1,"timeout":10}}`))
	f.Add([]byte(`{"address":"2001:db8::1","throughput":{"duration":1000,"streams":1,"udp":true,"reverse":true}}`))
	f.Add([]byte(`{"address":"fe80::1%eth0","ping":{}}`))
	f.Add([]byte(`{"address":"","ping":null}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRequest(line)
		if err != nil {
			return
		}
		require.NoError(t, r.Validate())
		text, err := json.Marshal(r)
		require.NoError(t, err)
		again, err := parseRequest(text)
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
