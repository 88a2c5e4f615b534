// SPDX-License-Identifier: Apache-2.0

package nsc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/roundrobin"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	registrysendfd "github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/nsc"
	"github.com/nsm-afxdp/forwarder/internal/nse"
	"github.com/nsm-afxdp/forwarder/internal/nsmgr"
	"github.com/nsm-afxdp/forwarder/internal/registry"
	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/internal/spiffe"
)

// The test binary is all programs of the mesh: which one it is says this variable.
const roleEnv = "NSC_TEST_ROLE"

// binaryEnv with the name of a role names another test binary for it, such as one that
// was built with the upstream SDK: NSC_TEST_BINARY_nsmgr=/tmp/upstream.test.
const binaryEnv = "NSC_TEST_BINARY_"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleEnv); role {
	case "":
		os.Exit(m.Run())
	case "registry":
		registry.Program().Main()
	case "nsmgr":
		nsmgr.Program().Main()
	case "nse":
		nse.Program().Main()
	case "nsc":
		nsc.Program().Main()
	case "forwarder":
		c := new(forwarderConfig)
		service.Program{Name: role, Config: c, Run: c.run}.Main()
	}
}

// forwarderConfig is of a forwarder that negotiates and moves no packets.
type forwarderConfig struct {
	Name      string
	ListenOn  url.URL `split_words:"true"`
	ConnectTo url.URL `split_words:"true"`
	service.Common
}

func (c *forwarderConfig) run(ctx context.Context) error {
	ctx, identity, stop, err := c.Start(ctx, c.Name)
	if err != nil {
		return err
	}
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	toRegistry := []registryclient.Option{
		registryclient.WithClientURL(&c.ConnectTo),
		registryclient.WithDialOptions(identity.DialOptions()...),
		registryclient.WithNSEAdditionalFunctionality(
			registryrecvfd.NewNetworkServiceEndpointRegistryClient(),
			registrysendfd.NewNetworkServiceEndpointRegistryClient(),
		),
	}
	endpoints := registryclient.NewNetworkServiceEndpointRegistryClient(ctx, toRegistry...)
	server := grpc.NewServer(identity.ServerOptions()...)
	endpoint.NewServer(ctx, identity.Tokens,
		endpoint.WithName(c.Name),
		endpoint.WithAuthorizeServer(authorize.NewServer()),
		endpoint.WithAdditionalFunctionality(
			recvfd.NewServer(),
			sendfd.NewServer(),
			discover.NewServer(registryclient.NewNetworkServiceRegistryClient(ctx, toRegistry...), endpoints),
			roundrobin.NewServer(),
			connect.NewServer(client.NewClient(ctx,
				client.WithName(c.Name),
				client.WithoutRefresh(),
				client.WithDialOptions(identity.DialOptions()...),
				client.WithAuthorizeClient(authorize.NewClient()),
				client.WithAdditionalFunctionality(recvfd.NewClient(), sendfd.NewClient()),
			)),
		),
	).Register(server)
	wait, err := service.Serve(ctx, server, fail, &c.ListenOn)
	if err != nil {
		return err
	}
	defer func() { fail(nil); wait() }()
	_, err = endpoints.Register(ctx, &registryapi.NetworkServiceEndpoint{
		Name: c.Name, NetworkServiceNames: []string{"forwarder"}, Url: c.ListenOn.String(),
		NetworkServiceLabels: map[string]*registryapi.NetworkServiceLabels{"forwarder": {Labels: map[string]string{"p2p": "true"}}},
	})
	if err != nil {
		return err
	}
	log.FromContext(ctx).Info("startup completed")
	return service.Wait(ctx)
}

// mesh is a registry, an nsmgr and a forwarder, each a process.
type mesh struct {
	t         *testing.T
	dir       string
	authority *spiffe.Authority
	env       []string
	registry  *process
	nsmgr     *process
	processes []*process
}

// newMesh starts it; env is added to the environment of all processes.
func newMesh(t *testing.T, svidTTL time.Duration, env ...string) *mesh {
	t.Helper()
	// Sockets have short names only.
	dir, err := os.MkdirTemp("", "mesh")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	authority, err := spiffe.NewAuthority(spiffe.Config{TTL: svidTTL})
	require.NoError(t, err)
	t.Cleanup(authority.Close)
	m := &mesh{t: t, dir: dir, authority: authority, env: env}
	registryURL := "tcp://" + freeAddress(t)
	m.registry = m.start("registry", "registry", "NSM_LISTEN_ON="+registryURL)
	m.registry.await("startup completed")
	m.nsmgr = m.start("nsmgr", "nsmgr", "NSM_NAME=nsmgr", "NSM_LISTEN_ON="+m.nsmgrURL()+",tcp://"+freeAddress(t), "NSM_REGISTRY_URL="+registryURL)
	m.nsmgr.await("startup completed")
	m.start("forwarder", "forwarder", "NSM_NAME=forwarder", "NSM_LISTEN_ON=unix://"+filepath.Join(dir, "forwarder.sock"), "NSM_CONNECT_TO="+m.nsmgrURL()).
		await("startup completed")
	return m
}

func (m *mesh) nsmgrURL() string { return "unix://" + filepath.Join(m.dir, "nsm.sock") }

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// endpoint starts an endpoint that has answered the registry when it returns.
func (m *mesh) endpoint(name string, env ...string) *process {
	m.t.Helper()
	p := m.start("nse", name, append([]string{
		"NSM_NAME=" + name, "NSM_CONNECT_TO=" + m.nsmgrURL(), "NSM_SERVICE_NAMES=service", "NSM_CIDR_PREFIX=172.16.1.0/24",
	}, env...)...)
	p.await("startup completed")
	return p
}

// client starts a client of the service "service".
func (m *mesh) client(env ...string) *process {
	m.t.Helper()
	return m.start("nsc", "nsc", append(m.clientEnv(), env...)...)
}

func (m *mesh) clientEnv() []string {
	return []string{
		"NSM_NAME=nsc", "NSM_CONNECT_TO=" + m.nsmgrURL(), "NSM_NETWORK_SERVICES=kernel://service/nsm-1",
		// No packets move in this mesh.
		"NSM_LIVENESS_CHECK_ENABLED=false",
	}
}

type process struct {
	t    *testing.T
	name string
	role string
	log  string
	env  []string
	// shell is what runs before the program, in a mount namespace of its own.
	shell string
	cmd   *exec.Cmd
	done  chan struct{}
}

func (m *mesh) start(role, name string, env ...string) *process {
	m.t.Helper()
	p := m.prepare(role, name, env...)
	p.restart()
	return p
}

func (m *mesh) prepare(role, name string, env ...string) *process {
	m.t.Helper()
	socket := filepath.Join(m.dir, name+".agent")
	workload, err := m.authority.Listen(socket, "/ns/test/pod/"+name)
	require.NoError(m.t, err)
	m.t.Cleanup(workload.Close)
	p := &process{t: m.t, name: name, role: role, log: filepath.Join(m.dir, name+".log"), env: append([]string{
		"PATH=" + os.Getenv("PATH"), roleEnv + "=" + role, "SPIFFE_ENDPOINT_SOCKET=" + workload.URL(), "TMPDIR=" + m.dir,
	}, append(env, m.env...)...)}
	m.processes = append(m.processes, p)
	m.t.Cleanup(p.kill)
	return p
}

func (p *process) restart() {
	p.t.Helper()
	self, err := os.Executable()
	require.NoError(p.t, err)
	if other := os.Getenv(binaryEnv + p.role); other != "" {
		self = other
	}
	out, err := os.Create(p.log)
	require.NoError(p.t, err)
	defer func() { _ = out.Close() }()
	p.cmd = exec.Command(self)
	if p.shell != "" {
		p.cmd = exec.Command("/bin/sh", "-c", p.shell, self)
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, out, out
	require.NoError(p.t, p.cmd.Start())
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_ = cmd.Wait()
	}(p.cmd, p.done)
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	if p.t.Failed() {
		p.t.Logf("--- %s\n%s", p.name, p.output())
	}
}

// terminate ends the process as a kubelet does, and returns its exit code.
func (p *process) terminate() int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	return p.exitCode()
}

func (p *process) exitCode() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s does not end:\n%s", p.name, p.output())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) output() string {
	text, err := os.ReadFile(p.log)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	require.NoError(p.t, err)
	return string(text)
}

func (p *process) count(text string) int { return strings.Count(p.output(), text) }

// await waits until the process has logged the text.
func (p *process) await(text string) {
	p.t.Helper()
	p.eventually(fmt.Sprintf("logs %q", text), func() bool { return p.count(text) > 0 })
}

func (p *process) eventually(what string, condition func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("not within 20s: %s %s\n%s", p.name, what, p.output())
		}
	}
}

// observed is what a monitor of the nsmgr saw.
type observed struct {
	mu    sync.Mutex
	conns map[string]*networkservice.Connection
	gone  []string
}

// watch monitors the nsmgr's connections, until the test ends or the nsmgr does.
func (m *mesh) watch() *observed {
	m.t.Helper()
	workload, err := m.authority.Listen(filepath.Join(m.dir, fmt.Sprintf("watch%d.agent", len(m.processes))), "/ns/test/pod/nsc")
	require.NoError(m.t, err)
	source, err := workloadapi.NewX509Source(m.t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(workload.URL())))
	require.NoError(m.t, err)
	cc, err := grpc.NewClient(m.nsmgrURL(), grpc.WithTransportCredentials(credentials.NewTLS(tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeAny()))))
	require.NoError(m.t, err)
	ctx, cancel := context.WithCancel(m.t.Context())
	events, err := networkservice.NewMonitorConnectionClient(cc).MonitorConnections(ctx, &networkservice.MonitorScopeSelector{})
	require.NoError(m.t, err)
	o := &observed{conns: make(map[string]*networkservice.Connection)}
	var following sync.WaitGroup
	following.Go(func() {
		for {
			event, err := events.Recv()
			if err != nil {
				return
			}
			o.add(event)
		}
	})
	m.t.Cleanup(func() {
		cancel()
		following.Wait()
		_ = cc.Close()
		_ = source.Close()
		workload.Close()
	})
	return o
}

func (o *observed) add(event *networkservice.ConnectionEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, conn := range event.GetConnections() {
		if event.GetType() == networkservice.ConnectionEventType_DELETE {
			delete(o.conns, id)
			o.gone = append(o.gone, id)
			continue
		}
		o.conns[id] = conn
	}
}

func (o *observed) deleted() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.gone)
}

// up returns the connections that are not down. (One that was just reselected still has
// that state in its event.)
func (o *observed) up() (up []*networkservice.Connection) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, conn := range o.conns {
		if conn.GetState() != networkservice.State_DOWN {
			up = append(up, conn)
		}
	}
	return up
}
