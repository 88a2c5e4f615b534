// SPDX-License-Identifier: Apache-2.0

package sendfd_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

	"github.com/networkservicemesh/sdk/pkg/internal/sandbox"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
)

const patience = 10 * time.Second

// peer is the process on the other side of a unix socket. It answers with a
// file of its own.
type peer struct {
	answer string
	fail   atomic.Bool

	mu  sync.Mutex
	got []string
}

// seen are the inodeURLs of the connection and of the preferences of the last
// request, as elements see them.
func (p *peer) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

func (p *peer) Request(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	var got []string
	for _, m := range append([]*networkservice.Mechanism{request.GetConnection().GetMechanism()}, request.GetMechanismPreferences()...) {
		got = append(got, m.GetParameters()[common.InodeURL])
	}
	p.mu.Lock()
	p.got = got
	p.mu.Unlock()
	if p.fail.Load() {
		return nil, fmt.Errorf("refused")
	}
	conn := request.GetConnection().Clone()
	if conn.GetMechanism() == nil {
		conn.Mechanism = request.GetMechanismPreferences()[0].Clone()
	}
	if p.answer != "" {
		conn.Mechanism.Parameters[common.InodeURL] = p.answer
	}
	return conn, nil
}

func (p *peer) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}

// wire is a client chain that talks to p.
func wire(t *testing.T, p *peer, clients ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	authority := sandbox.NewAuthority(t)
	u := sandbox.Unix(t, "peer.sock")
	sandbox.Start(t, authority.Issue(t, "server"), func(context.Context) func(*grpc.Server) {
		server := next.NewNetworkServiceServer(recvfd.NewServer(), sendfd.NewServer(), p)
		return func(s *grpc.Server) { networkservice.RegisterNetworkServiceServer(s, server) }
	}, u)
	cc, err := grpc.NewClient(grpcutils.URLToTarget(u), authority.Issue(t, "client").DialOptions()...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	return next.NewNetworkServiceClient(append(clients, networkservice.NewNetworkServiceClient(cc))...)
}

func tempFile(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return "file://" + path
}

func mechanism(inodeURL string) *networkservice.Mechanism {
	return &networkservice.Mechanism{Cls: "LOCAL", Type: "KERNEL", Parameters: map[string]string{common.InodeURL: inodeURL}}
}

func request(preferences ...string) *networkservice.NetworkServiceRequest {
	r := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "id"}}
	for _, p := range preferences {
		r.MechanismPreferences = append(r.MechanismPreferences, mechanism(p))
	}
	return r
}

func inode(t *testing.T, fileURL string) string {
	u, err := url.Parse(fileURL)
	require.NoError(t, err)
	require.Equal(t, "file", u.Scheme, fileURL)
	var stat syscall.Stat_t
	require.NoError(t, syscall.Stat(u.Path, &stat))
	return fmt.Sprintf("inode://%d/%d", stat.Dev, stat.Ino)
}

// held are the descriptors of this process that are open on one of the files.
func held(t *testing.T, fileURLs ...string) int {
	wanted := make(map[string]bool)
	for _, u := range fileURLs {
		wanted[inode(t, u)] = true
	}
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	n := 0
	for _, entry := range entries {
		var stat syscall.Stat_t
		if syscall.Stat("/proc/self/fd/"+entry.Name(), &stat) == nil && wanted[fmt.Sprintf("inode://%d/%d", stat.Dev, stat.Ino)] {
			n++
		}
	}
	return n
}

func call(t *testing.T, client networkservice.NetworkServiceClient, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.Request(ctx, r)
}

func TestFilesOfARequest(t *testing.T) {
	p := new(peer)
	client := wire(t, p, sendfd.NewClient())
	first, second := tempFile(t, "first"), tempFile(t, "second")
	r := request(first, second)
	sent := r.Clone()
	conn, err := call(t, client, r)
	require.NoError(t, err)
	require.Equal(t, sent.String(), r.String(), "the caller's request stays as it is")
	require.Equal(t, first, conn.GetMechanism().GetParameters()[common.InodeURL], "swapped back")
	require.Len(t, p.seen(), 3)
	require.Equal(t, inode(t, first), inode(t, p.seen()[1]))
	require.Equal(t, inode(t, second), inode(t, p.seen()[2]))
	require.Contains(t, p.seen()[1], "file:///proc/")

	path := p.seen()[1]
	_, err = call(t, client, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	require.Equal(t, path, p.seen()[0], "a refresh has the same path")

	p.fail.Store(true)
	_, err = call(t, client, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.Error(t, err)
	require.Equal(t, inode(t, first), inode(t, path), "a failed refresh leaves the file open")
	p.fail.Store(false)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = client.Close(ctx, conn)
	require.NoError(t, err)
	_, err = os.Stat(path[len("file://"):])
	require.ErrorIs(t, err, os.ErrNotExist, "closed with the connection")
}

func TestFileOfTheAnswer(t *testing.T) {
	p := &peer{answer: tempFile(t, "answer")}
	client := wire(t, p, recvfd.NewClient(), sendfd.NewClient())
	var path string
	for range 3 {
		conn, err := call(t, client, request(tempFile(t, "preference")))
		require.NoError(t, err)
		got := conn.GetMechanism().GetParameters()[common.InodeURL]
		require.Equal(t, inode(t, p.answer), inode(t, got))
		require.NotEqual(t, p.answer, got)
		if path != "" {
			require.Equal(t, path, got, "the same path for the same file")
		}
		path = got
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := client.Close(ctx, &networkservice.Connection{Id: "id"})
	require.NoError(t, err)
	_, err = os.Stat(path[len("file://"):])
	require.ErrorIs(t, err, os.ErrNotExist, "closed with the connection")
}

func TestFilesAreNotLeaked(t *testing.T) {
	p := &peer{answer: tempFile(t, "answer")}
	client := wire(t, p, recvfd.NewClient(), sendfd.NewClient())
	first, second := tempFile(t, "first"), tempFile(t, "second")
	for i := range 30 {
		r := request(first, second)
		r.Connection.Id = fmt.Sprint(i)
		p.fail.Store(i%3 == 2)
		conn, err := call(t, client, r)
		require.Equal(t, p.fail.Load(), err != nil)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, err = client.Close(ctx, conn)
		cancel()
		require.NoError(t, err)
	}
	// The gRPC connection itself keeps one of each that it received, for as long
	// as it lives: the server all three (the answer's comes back with the Close),
	// the client the answer's.
	require.Eventually(t, func() bool { return held(t, first, second, p.answer) <= 4 }, patience, 10*time.Millisecond,
		"%d are open", held(t, first, second, p.answer))
}

func TestFileThatCannotBeOpenedFailsAtOnce(t *testing.T) {
	p := new(peer)
	client := wire(t, p, sendfd.NewClient())
	start := time.Now()
	_, err := call(t, client, request("file:///no/such/file"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Less(t, time.Since(start), time.Second)
	require.Nil(t, p.seen())

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = client.Close(ctx, &networkservice.Connection{Id: "id", Mechanism: mechanism("file:///no/such/file")})
	require.NoError(t, err, "what is gone can be closed")
}

func TestFileThatNeverComes(t *testing.T) {
	p := new(peer)
	client := wire(t, p) // claims an inode and sends nothing
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := client.Request(ctx, request(inode(t, tempFile(t, "kept"))))
	require.Error(t, err)
	require.GreaterOrEqual(t, time.Since(start), 150*time.Millisecond, "it waited for the file")
	require.Nil(t, p.seen())
}

func TestNothingHappensWithoutAUnixSocket(t *testing.T) {
	p := &peer{}
	client := next.NewNetworkServiceClient(adapters.NewServerToClient(next.NewNetworkServiceServer(recvfd.NewServer(), sendfd.NewServer(), p)))
	file := tempFile(t, "file")
	conn, err := call(t, client, request(file))
	require.NoError(t, err)
	require.Equal(t, file, conn.GetMechanism().GetParameters()[common.InodeURL])
}
