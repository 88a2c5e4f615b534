// SPDX-License-Identifier: Apache-2.0

// Package lab builds two nodes on one machine, for the demo and the tests: each
// node is a network namespace, an underlay link joins them, each pod is a
// namespace of its own, and every program of the mesh runs as a real process.
//
// Nothing of the machine is changed: the namespaces have no way out of the lab,
// and each process has a mount namespace of its own.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config is what a lab looks like. The zero value is two nodes on an IPv4
// underlay of MTU 1500.
type Config struct {
	// Tag tells labs of different programs apart in names of namespaces.
	Tag string
	// Bin is the folder of the programs: forwarder, nsmgr, registry, nsc, nse.
	Bin string
	// MTU of the underlay in bytes.
	MTU int
	// IPv6 makes the tunnel addresses IPv6.
	IPv6 bool
	// VLAN makes the uplink a VLAN interface with this id on top of UplinkName. New
	// returns an error wrapping ErrNoVLAN if the kernel has none.
	VLAN uint16
	// Switch joins the nodes by a switch that has ports for others: see
	// AddVLANHost. Otherwise one link joins them.
	Switch bool
	// Planes are what the forwarders move packets with, as in
	// NSM_FORWARDING_PLANE, by node (FORWARDING_PLANE of the environment, else auto).
	Planes [2]string
	// LogLevel of all programs (INFO).
	LogLevel string
	// MaxTokenLifetime bounds refresh and timeout (10m). Clients limit a request to
	// a fifth of it, because a connection times out so much before its token does.
	MaxTokenLifetime time.Duration
	// SVIDLifetime is how long the programs' certificates live (1h); they are
	// renewed before that.
	SVIDLifetime time.Duration
}

// Lab is two nodes and what runs on them. Pods may be made, and programs started in
// them, by several goroutines at the same time.
type Lab struct {
	Config
	// Dir holds sockets and logs.
	Dir   string
	Nodes []*Node
	// Registry runs on the first node.
	Registry *Process

	name       string
	identities *identities
	ether      *ethernetSwitch // nil unless Config.Switch

	// What pods are made of may be added by several goroutines.
	mu            sync.Mutex
	pods          []*Namespace
	processes     []*Process
	vlanHosts     int
	vlanEndpoints int
	closers       []func() error
}

// Node is a network namespace with an uplink.
type Node struct {
	*Namespace
	// Index is 0 or 1.
	Index int
	// Addr is the node's tunnel address.
	Addr netip.Addr
	// Dir holds the node's sockets and logs.
	Dir string

	NSMgr     *Process
	Forwarder *Process

	lab *Lab
}

// New makes the namespaces and the underlay. Start runs the mesh on it.
func New(cfg Config) (_ *Lab, err error) {
	if cfg.Tag == "" {
		cfg.Tag = "lab"
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	for i := range cfg.Planes {
		if cfg.Planes[i] == "" {
			cfg.Planes[i] = os.Getenv("FORWARDING_PLANE")
		}
	}
	if cfg.LogLevel == "" {
		cfg.LogLevel = "INFO"
	}
	if cfg.MaxTokenLifetime == 0 {
		cfg.MaxTokenLifetime = 10 * time.Minute
	}
	if err := Sweep(cfg.Tag); err != nil {
		return nil, fmt.Errorf("clean up after an earlier run: %w", err)
	}
	l := &Lab{Config: cfg, name: labName(cfg.Tag, os.Getpid()) + "-" + fmt.Sprint(sequence.Add(1))}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	l.Dir = filepath.Join(os.TempDir(), l.name)
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's folder: %w", err)
	}
	for i := range 2 {
		if err := l.addNode(i); err != nil {
			return nil, err
		}
	}
	if err := l.joinNodes(); err != nil {
		return nil, err
	}
	if l.identities, err = newIdentities(cfg.SVIDLifetime); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Lab) addNode(i int) error {
	ns, err := newNamespace(fmt.Sprintf("%s-node%d", l.name, i+1))
	if err != nil {
		return err
	}
	n := &Node{
		Namespace: ns, Index: i, lab: l,
		Addr: netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}),
		Dir:  filepath.Join(l.Dir, fmt.Sprintf("node%d", i+1)),
	}
	if l.IPv6 {
		n.Addr = netip.MustParseAddr(fmt.Sprintf("fd00:99::%d", i+1))
	}
	l.Nodes = append(l.Nodes, n)
	if err := os.MkdirAll(n.BPFFS(), 0o755); err != nil {
		return fmt.Errorf("make the node's folder: %w", err)
	}
	if err := unix.Mount("bpf", n.BPFFS(), "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount a bpffs for %s: %w", n.Name, err)
	}
	return nil
}

// BPFFS is where the node's bpffs is mounted.
func (n *Node) BPFFS() string { return filepath.Join(n.Dir, "bpf") }

// Pod makes a network namespace for a pod on the node.
func (n *Node) Pod(name string) (*Namespace, error) {
	ns, err := newNamespace(fmt.Sprintf("%s-%s", n.lab.name, name))
	if err != nil {
		return nil, err
	}
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.lab.pods = append(n.lab.pods, ns)
	return ns, nil
}

// RemovePod kills the pod's processes and removes its namespace, as a kubelet
// would.
func (l *Lab) RemovePod(pod *Namespace) error {
	for _, p := range l.Processes() {
		if p.netns == pod.Path {
			p.Kill()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods = slices.DeleteFunc(l.pods, func(n *Namespace) bool { return n == pod })
	return pod.remove()
}

// Close ends every process and removes all that the lab made. Programs get
// SIGTERM and ten seconds.
func (l *Lab) Close() error {
	var errs []error
	// In the opposite order of starting: clients close their connections
	// while the mesh still runs.
	for _, p := range slices.Backward(l.processes) {
		errs = append(errs, p.Stop(10*time.Second))
	}
	if l.identities != nil {
		l.identities.close()
	}
	for _, undo := range slices.Backward(l.closers) {
		errs = append(errs, undo())
	}
	for _, ns := range l.pods {
		errs = append(errs, ns.remove())
	}
	for _, n := range l.Nodes {
		errs = append(errs, n.remove())
	}
	if l.Dir != "" {
		errs = append(errs, removeDir(l.Dir))
	}
	return errors.Join(errs...)
}

// Ping sends count echo requests from a namespace, all at once, waits up to two
// seconds for the answers and returns what ping(8) printed. Spread over time,
// ping would wait for the last answer only as long as the others took, and call
// it lost on a busy machine.
func Ping(ctx context.Context, from *Namespace, to netip.Addr, count int) (string, error) {
	return Run(ctx, from.Path, "ping", "-n", "-q", "-c", fmt.Sprint(count), "-l", fmt.Sprint(count), "-i", "2", to.String())
}

// Processes are all that were started, in that order.
func (l *Lab) Processes() []*Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.processes)
}
