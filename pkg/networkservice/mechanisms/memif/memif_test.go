// SPDX-License-Identifier: Apache-2.0

package memif_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/portcheck"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

const (
	ownNetNS = "file:///proc/self/ns/net"
	inodeURL = memifmech.NetNSURL
	socket   = memifmech.SocketFilename
)

func request(id string, parameters map[string]string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: id, NetworkService: "a-service",
		Mechanism: &networkservice.Mechanism{Cls: cls.LOCAL, Type: memifmech.MECHANISM, Parameters: parameters},
		Path:      &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Id: "c0", Name: "nsc"}}},
	}}
}

func newServer(seen *portcheck.Ports, folder string) networkservice.NetworkServiceServer {
	return chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), memif.NewServer(folder))
}

// socketFile listens on a file and returns its path.
func socketFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "memif.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return path
}

func plainFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	return path
}

func ownPort(t *testing.T) plane.Memif {
	t.Helper()
	dev, ino, err := netns.Identity("/proc/self/ns/net")
	require.NoError(t, err)
	return plane.Memif{NetNS: "/proc/self/ns/net", Device: dev, Inode: ino}
}

func TestServerListensInTheClientsNamespace(t *testing.T) {
	var seen portcheck.Ports
	server := newServer(&seen, "")
	conn, err := server.Request(context.Background(), request("c1", map[string]string{inodeURL: ownNetNS, "name": "nsm-1"}))
	require.NoError(t, err)
	want := ownPort(t)
	want.Name, want.Master, want.Socket = "nsm-1", true, "@/tmp/memif/c1/memif.socket"
	require.Equal(t, want, seen.Client)
	m := memifmech.ToMechanism(conn.GetMechanism())
	require.Equal(t, want.Socket, m.GetSocketFilename(), "where the client connects")
	require.Equal(t, ownNetNS, m.GetNetNSURL())

	m.SetSocketFilename("@another")
	conn, err = server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	require.Equal(t, want, seen.Client, "a refresh changes nothing, whatever it says of the socket")
	require.Equal(t, want.Socket, memifmech.ToMechanism(conn.GetMechanism()).GetSocketFilename())

	_, err = server.Close(context.Background(), conn)
	require.NoError(t, err)
	require.True(t, seen.Closed)
	require.Nil(t, seen.Client)
}

// A forwarder that has just started knows nothing of the connection.
func TestServerServesARefreshThatItHasNotSeenBefore(t *testing.T) {
	var seen portcheck.Ports
	conn, err := newServer(&seen, "").Request(context.Background(), request("new-id", map[string]string{
		inodeURL: ownNetNS, "name": "nsm-1", socket: "@/tmp/memif/old-id/memif.socket",
	}))
	require.NoError(t, err)
	require.Equal(t, "@/tmp/memif/new-id/memif.socket", seen.Client.(plane.Memif).Socket)
	require.Equal(t, "@/tmp/memif/new-id/memif.socket", memifmech.ToMechanism(conn.GetMechanism()).GetSocketFilename())
}

func TestServerMakesNamesOfAnyID(t *testing.T) {
	names := map[string]bool{}
	for _, id := range []string{"a", strings.Repeat("x", 82), strings.Repeat("x", 83), strings.Repeat("y", 5000), "a\x00b", "a\x1b[2J"} {
		var seen portcheck.Ports
		_, err := newServer(&seen, "").Request(context.Background(), request(id, map[string]string{inodeURL: ownNetNS}))
		require.NoError(t, err, "%q", id)
		name := seen.Client.(plane.Memif).Socket
		require.NotContains(t, name[1:], "\x00")
		require.LessOrEqual(t, len(name), 108)
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: name, Net: "unixpacket"})
		require.NoError(t, err, "%q", name)
		require.NoError(t, l.Close())
		names[name] = true
	}
	require.Len(t, names, 6, "each connection has a socket of its own")
}

func TestAClientWithoutNamespaceGetsASocketFile(t *testing.T) {
	var seen portcheck.Ports
	folder := t.TempDir()
	server := newServer(&seen, folder)
	conn, err := server.Request(context.Background(), request("../../c1", map[string]string{"name": "nsm-1"}))
	require.NoError(t, err)
	p := seen.Client.(plane.Memif)
	require.Equal(t, folder, filepath.Dir(p.Socket), "no id leads out of the folder")
	require.Equal(t, plane.Memif{Name: "nsm-1", Master: true, Socket: p.Socket}, p)
	m := memifmech.ToMechanism(conn.GetMechanism())
	require.Equal(t, "file://"+p.Socket, m.GetSocketFileURL(), "what the descriptor is made from")
	require.Empty(t, m.GetSocketFilename())

	m.SetSocketFileURL("file://" + socketFile(t)) // as its descriptor comes back
	_, err = server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	require.Equal(t, p, seen.Client, "a refresh keeps the socket")
}

func TestServerRefusesBadParameters(t *testing.T) {
	for name, tc := range map[string]struct{ url, ifName, folder, want string }{
		"no namespace, no folder":      {"", "nsm-1", "", "no network namespace given (parameter inodeURL)"},
		"descriptor never came":        {"inode://4/4026531840", "nsm-1", "/run", "its file descriptor was not received"},
		"namespace does not exist":     {"file:///proc/self/ns/nothing", "nsm-1", "/run", "no such file"},
		"file is no namespace":         {"file://" + plainFile(t), "nsm-1", "/run", "not a network namespace"},
		"namespace of another kind":    {"file:///proc/self/ns/mnt", "nsm-1", "/run", "not a network namespace"},
		"URL without a path":           {"file:", "nsm-1", "/run", "no path"},
		"URL does not parse":           {"file://%zz", "nsm-1", "/run", "network namespace: parse"},
		"path with a NUL byte":         {"file:///proc/self%00", "nsm-1", "/run", "invalid argument"},
		"name with an escape sequence": {ownNetNS, "\x1b[2J", "/run", "cannot be shown"},
		"name of a page":               {ownNetNS, strings.Repeat("x", 4096), "/run", "too long"},
		"folder too long":              {"", "nsm-1", "/" + strings.Repeat("x", 100), "too long for a socket in it"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			_, err := newServer(&seen, tc.folder).Request(context.Background(), request("c1", map[string]string{
				inodeURL: tc.url, "name": tc.ifName,
			}))
			require.ErrorContains(t, err, "memif mechanism: ")
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, seen.Client)
		})
	}
}

func TestOthersMechanismsPass(t *testing.T) {
	var seen portcheck.Ports
	r := request("c1", map[string]string{})
	r.Connection.Mechanism.Type = "KERNEL"
	_, err := newServer(&seen, "").Request(context.Background(), r)
	require.NoError(t, err)
	require.Nil(t, seen.Client)
}

// endpoint answers with a mechanism and remembers what it was offered.
type endpoint struct {
	answer  *networkservice.Mechanism
	offered []*networkservice.Mechanism
	closed  bool
}

func (e *endpoint) Request(
	_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption,
) (*networkservice.Connection, error) {
	e.offered = request.GetMechanismPreferences()
	conn := request.GetConnection().Clone()
	conn.Mechanism = e.answer.Clone()
	return conn, nil
}

func (e *endpoint) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	e.closed = true
	return &emptypb.Empty{}, nil
}

func newClient(seen *portcheck.Ports, e *endpoint) networkservice.NetworkServiceClient {
	return chain.NewNetworkServiceClient(metadata.NewClient(), seen.NewClient(), memif.NewClient(), e)
}

func answer(parameters map[string]string) *networkservice.Mechanism {
	return &networkservice.Mechanism{Cls: cls.LOCAL, Type: memifmech.MECHANISM, Parameters: parameters}
}

func TestClientConnectsToTheEndpointsSocket(t *testing.T) {
	abstract := ownPort(t)
	abstract.Socket = "@/tmp/memif/e1/memif.socket"
	file := socketFile(t)
	for name, tc := range map[string]struct {
		parameters map[string]string
		want       plane.Memif
	}{
		"abstract": {map[string]string{inodeURL: ownNetNS, socket: abstract.Socket}, abstract},
		"file":     {map[string]string{inodeURL: "file://" + file, "name": "x"}, plane.Memif{Socket: file, Name: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			e := &endpoint{answer: answer(tc.parameters)}
			client := newClient(&seen, e)
			r := request("c1", nil)
			r.Connection.Mechanism = nil
			conn, err := client.Request(context.Background(), r)
			require.NoError(t, err)
			require.Equal(t, tc.want, seen.Endpoint)
			require.Len(t, e.offered, 1)
			require.Equal(t, cls.LOCAL, e.offered[0].GetCls())
			require.Equal(t, memifmech.MECHANISM, e.offered[0].GetType())
			require.Empty(t, e.offered[0].GetParameters(), "the endpoint says everything")

			_, err = client.Close(context.Background(), conn)
			require.NoError(t, err)
			require.True(t, e.closed)
			require.Nil(t, seen.Endpoint)
		})
	}
}

// A descriptor of a socket file is a way to the socket, also when it was opened
// as sendfd opens files.
func TestASocketFileIsReachedThroughADescriptor(t *testing.T) {
	path := socketFile(t)
	held, err := os.OpenFile(path, os.O_RDONLY|unix.O_PATH, 0)
	require.NoError(t, err)
	defer func() { _ = held.Close() }()
	link := filepath.Join("/proc/self/fd", strconv.Itoa(int(held.Fd())))
	var seen portcheck.Ports
	r := request("c1", nil)
	r.Connection.Mechanism = nil
	_, err = newClient(&seen, &endpoint{answer: answer(map[string]string{inodeURL: "file://" + link})}).Request(context.Background(), r)
	require.NoError(t, err)
	peer, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: seen.Endpoint.(plane.Memif).Socket, Net: "unixpacket"})
	require.NoError(t, err)
	require.NoError(t, peer.Close())
}

func TestClientRefusesBadAnswersAndClosesTheEndpoint(t *testing.T) {
	const name = "@/tmp/memif/e1/memif.socket"
	for what, tc := range map[string]struct{ url, socket, want string }{
		"nothing":                   {"", "", "gave no network namespace and no socket"},
		"no namespace":              {"", name, "gave no network namespace and no socket"},
		"no socket":                 {ownNetNS, "", "no socket given (parameter socketfile)"},
		"descriptor never came":     {"inode://4/4026531840", name, "its file descriptor was not received"},
		"file is neither":           {"file://" + plainFile(t), name, "not a network namespace"},
		"a folder":                  {"file://" + t.TempDir(), name, "not a network namespace"},
		"a path in our file system": {ownNetNS, "/run/containerd/containerd.sock", "want '@' and the name of an abstract socket"},
		"abstract without name":     {ownNetNS, "@", "has no name"},
		"name too long":             {ownNetNS, "@" + strings.Repeat("x", 108), "socket name of 108 bytes, at most 107"},
		"name with a NUL byte":      {ownNetNS, "@a\x00b", "cannot be shown"},
		"name that is not UTF-8":    {ownNetNS, "@a\xff", "cannot be shown"},
	} {
		t.Run(what, func(t *testing.T) {
			var seen portcheck.Ports
			e := &endpoint{answer: answer(map[string]string{inodeURL: tc.url, socket: tc.socket})}
			r := request("c1", nil)
			r.Connection.Mechanism = nil
			_, err := newClient(&seen, e).Request(context.Background(), r)
			require.ErrorContains(t, err, "memif mechanism: ")
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, seen.Endpoint)
			require.True(t, e.closed, "the endpoint would keep the connection")
		})
	}
}

func TestAnEndpointMayTakeAnotherOffer(t *testing.T) {
	var seen portcheck.Ports
	e := &endpoint{answer: &networkservice.Mechanism{Cls: cls.LOCAL, Type: "KERNEL"}}
	r := request("c1", nil)
	r.Connection.Mechanism = nil
	_, err := newClient(&seen, e).Request(context.Background(), r)
	require.NoError(t, err)
	require.Nil(t, seen.Endpoint)
	require.False(t, e.closed)
}
