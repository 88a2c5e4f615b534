// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/status"
)

// Ports of the programs that other nodes call, as in the stock deployment.
const (
	nsmgrPort    = 5001
	registryPort = 5002
)

// Start runs the registry, and an nsmgr and a forwarder on each node, and
// returns when every forwarder has registered itself.
func (l *Lab) Start(ctx context.Context) error {
	if err := l.StartRegistry(ctx); err != nil {
		return err
	}
	for _, n := range l.Nodes {
		if err := n.StartNSMgr(ctx); err != nil {
			return err
		}
	}
	for _, n := range l.Nodes {
		if err := n.StartForwarder(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// StartRegistry runs the registry on the first node.
func (l *Lab) StartRegistry(ctx context.Context) error {
	n := l.Nodes[0]
	p, err := n.process(n.Namespace, "registry", map[string]string{
		"NSM_LISTEN_ON": l.registryURL(),
	})
	if err != nil {
		return err
	}
	l.Registry = p
	return n.startListening(ctx, p, registryPort)
}

func (l *Lab) registryURL() string {
	return "tcp://" + net.JoinHostPort(l.Nodes[0].Addr.String(), fmt.Sprint(registryPort))
}

// StartNSMgr runs the node's nsmgr.
func (n *Node) StartNSMgr(ctx context.Context) error {
	p, err := n.process(n.Namespace, "nsmgr", map[string]string{
		"NSM_NAME":         fmt.Sprintf("nsmgr-%d", n.Index+1),
		"NSM_LISTEN_ON":    n.NSMgrURL() + ",tcp://" + net.JoinHostPort(n.Addr.String(), fmt.Sprint(nsmgrPort)),
		"NSM_REGISTRY_URL": n.lab.registryURL(),
	})
	if err != nil {
		return err
	}
	n.NSMgr = p
	return n.startListening(ctx, p, nsmgrPort)
}

// NSMgrURL is where clients on the node ask for connections.
func (n *Node) NSMgrURL() string { return "unix://" + filepath.Join(n.Dir, "nsm.io.sock") }

// StartForwarder runs the node's forwarder; env is added to its environment.
func (n *Node) StartForwarder(ctx context.Context, env map[string]string) error {
	if err := n.PrepareForwarder(env); err != nil {
		return err
	}
	return n.RestartForwarder(ctx)
}

// PrepareForwarder makes the node's forwarder without running it.
func (n *Node) PrepareForwarder(env map[string]string) error {
	all := map[string]string{
		"NSM_NAME":          fmt.Sprintf("forwarder-%d", n.Index+1),
		"NSM_CONNECT_TO":    n.NSMgrURL(),
		"NSM_LISTEN_ON":     "unix://" + filepath.Join(n.Dir, "forwarder.sock"),
		"NSM_TUNNEL_IP":     n.Addr.String(),
		"NSM_BPF_FS":        n.BPFFS(),
		"NSM_STATUS_SOCKET": n.StatusSocket(),
		"NSM_STATE_FILE":    filepath.Join(n.Dir, "forwarder.state"),
	}
	if plane := n.lab.Planes[n.Index]; plane != "" {
		all["NSM_FORWARDING_PLANE"] = plane
	}
	for k, v := range env {
		all[k] = v
	}
	p, err := n.process(n.Namespace, "forwarder", all)
	if err != nil {
		return err
	}
	n.Forwarder = p
	return nil
}

// RestartForwarder runs the node's forwarder again after it has ended, and
// returns when it is ready.
func (n *Node) RestartForwarder(ctx context.Context) error {
	_ = os.Remove(n.StatusSocket())
	if err := n.Forwarder.Start(); err != nil {
		return err
	}
	return n.Forwarder.Await(ctx, "ready", func() bool {
		_, err := n.Status(ctx)
		return err == nil
	})
}

// StatusSocket is where the node's forwarder answers for its status.
func (n *Node) StatusSocket() string { return filepath.Join(n.Dir, "status.sock") }

// Status asks the node's forwarder for its status.
func (n *Node) Status(ctx context.Context) (*status.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return status.Ask(ctx, n.StatusSocket())
}

// Endpoint is a pod with an endpoint in it.
type Endpoint struct {
	*Process
	Pod *Namespace
}

// Client is a pod with a client in it.
type Client struct {
	*Process
	Pod *Namespace
}

// Service is what an endpoint offers and a client asks for.
type Service struct {
	// Name of the network service.
	Name string
	// Payload is ETHERNET or IP.
	Payload string
	// CIDR that the endpoint takes the addresses of a connection from.
	CIDR string
}

// StartEndpoint runs an endpoint of the service in a new pod; env is added to
// its environment.
func (n *Node) StartEndpoint(ctx context.Context, name string, s Service, env map[string]string) (*Endpoint, error) {
	pod, err := n.Pod(name)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		"NSM_NAME":             name,
		"NSM_CONNECT_TO":       n.NSMgrURL(),
		"NSM_SERVICE_NAMES":    s.Name,
		"NSM_PAYLOAD":          s.Payload,
		"NSM_CIDR_PREFIX":      s.CIDR,
		"NSM_REGISTER_SERVICE": "true",
		"NSM_INET_SERVICES":    "true",
	}
	for k, v := range env {
		all[k] = v
	}
	p, err := n.process(pod, name, all)
	if err != nil {
		return nil, err
	}
	p.argv[0] = filepath.Join(n.lab.Bin, "nse")
	if err := p.Start(); err != nil {
		return nil, err
	}
	return &Endpoint{Process: p, Pod: pod}, p.Await(ctx, "ready", func() bool { return p.LogContains("startup completed") })
}

// StartClient runs a client that asks for the services in a new pod, without
// waiting for its connections. request is a list such as
// kernel://my-service/nsm-1.
func (n *Node) StartClient(name, request string, env map[string]string) (*Client, error) {
	c, err := n.PrepareClient(name, request, env)
	if err != nil {
		return nil, err
	}
	return c, c.Start()
}

// PrepareClient makes a client and its pod without running it.
func (n *Node) PrepareClient(name, request string, env map[string]string) (*Client, error) {
	pod, err := n.Pod(name)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		"NSM_NAME":                     name,
		"NSM_CONNECT_TO":               n.NSMgrURL(),
		"NSM_NETWORK_SERVICES":         request,
		"NSM_LOCAL_DNS_SERVER_ENABLED": "false",
		"NSM_REQUEST_TIMEOUT":          min(15*time.Second, n.lab.MaxTokenLifetime/5).String(),
	}
	for k, v := range env {
		all[k] = v
	}
	p, err := n.process(pod, name, all)
	if err != nil {
		return nil, err
	}
	p.argv[0] = filepath.Join(n.lab.Bin, "nsc")
	return &Client{Process: p, Pod: pod}, nil
}

// AwaitConnected returns when the client has all its connections.
func (c *Client) AwaitConnected(ctx context.Context) error {
	return c.Await(ctx, "connected", func() bool { return c.LogContains("all connections are up") })
}

// process prepares a program, named like the process unless the caller changes
// argv[0], with an identity of its own.
func (n *Node) process(in *Namespace, name string, env map[string]string) (*Process, error) {
	workload, err := n.lab.identities.add(n.Dir, name)
	if err != nil {
		return nil, err
	}
	p := &Process{
		Name: name, Log: filepath.Join(n.Dir, name+".log"),
		netns: in.Path, argv: []string{filepath.Join(n.lab.Bin, name)},
		env: []string{
			"SPIFFE_ENDPOINT_SOCKET=" + workload,
			"TMPDIR=" + n.Dir, // where a killed endpoint leaves its socket
			"NSM_LOG_LEVEL=" + n.lab.LogLevel,
			"NSM_MAX_TOKEN_LIFETIME=" + n.lab.MaxTokenLifetime.String(),
			fmt.Sprintf("NODE_NAME=node%d", n.Index+1), "POD_NAME=" + name, "CLUSTER_NAME=lab",
		},
	}
	for k, v := range env {
		p.env = append(p.env, k+"="+v)
	}
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.lab.processes = append(n.lab.processes, p)
	return p, nil
}

// startListening runs the process and waits until its TCP port answers.
func (n *Node) startListening(ctx context.Context, p *Process, port int) error {
	if err := p.Start(); err != nil {
		return err
	}
	address := net.JoinHostPort(n.Addr.String(), fmt.Sprint(port))
	return p.Await(ctx, "listening", func() bool {
		err := netns.Do(n.Path, func() error {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				_ = conn.Close()
			}
			return err
		})
		return err == nil
	})
}
