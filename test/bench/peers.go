// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// absent is the reason why something cannot be measured here.
type absent string

func (a absent) Error() string { return string(a) }

// require makes sure that the programs are installed.
func require(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return absent(p + " is not installed")
		}
	}
	return nil
}

// peers are nodes like those of the mesh, without a mesh.
type peers struct{ lab *lab.Lab }

func startPeers() (*peers, func() error, error) {
	l, err := lab.New(lab.Config{Tag: "bench"})
	if err != nil {
		return nil, nil, err
	}
	return &peers{l}, l.Close, nil
}

const peerSetup = "two network namespaces as nodes, joined by a veth pair of MTU 1500; client pod and server pod on different nodes: %s"

// ip runs ip(8) in a namespace, once for each line.
func ip(ctx context.Context, ns, lines string) error {
	for line := range strings.Lines(lines) {
		if _, err := lab.Run(ctx, ns, "ip", strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// pods makes a pod on each node.
func (p *peers) pods(name string) (near, far *lab.Namespace, err error) {
	if near, err = p.lab.Nodes[0].Pod(name + "-a"); err != nil {
		return nil, nil, err
	}
	far, err = p.lab.Nodes[1].Pod(name + "-b")
	return near, far, err
}

// vxlan is what Linux itself offers: veth, bridge, VXLAN device.
func (p *peers) vxlan(ctx context.Context) (*path, error) {
	near, far, err := p.pods("vxlan")
	if err != nil {
		return nil, err
	}
	pods := []*lab.Namespace{near, far}
	for i, n := range p.lab.Nodes {
		peer := p.lab.Nodes[1-i]
		err := errors.Join(
			ip(ctx, n.Path, fmt.Sprintf(`link add br0 mtu 1450 type bridge
				link add vxlan0 mtu 1450 master br0 type vxlan id 77 local %s remote %s dstport 4789 dev %s
				link add pod0 mtu 1450 master br0 type veth peer name nsm-1 mtu 1450 netns %s
				link set br0 up
				link set vxlan0 up
				link set pod0 up`, n.Addr, peer.Addr, lab.UplinkName, pods[i].Name)),
			ip(ctx, pods[i].Path, fmt.Sprintf(`addr add 172.16.1.%d/24 dev nsm-1
				link set nsm-1 up`, 101-i)))
		if err != nil {
			return nil, err
		}
	}
	return newPath(fmt.Sprintf(peerSetup, "veth, Linux bridge and VXLAN device on each node, MTU 1450"), near.Path, "172.16.1.101", far.Path, "172.16.1.100")
}

// device is a VXLAN device in either pod, as the kernel plane makes them.
func (p *peers) device(ctx context.Context) (*path, error) {
	near, far, err := p.pods("device")
	if err != nil {
		return nil, err
	}
	for i, pod := range []*lab.Namespace{near, far} {
		n, peer := p.lab.Nodes[i], p.lab.Nodes[1-i]
		err := errors.Join(
			ip(ctx, n.Path, fmt.Sprintf(`link add nsm-1 mtu 1450 type vxlan id 78 local %s remote %s dstport 4789 dev %s ttl 64 df set nolearning
				link set nsm-1 netns %s`, n.Addr, peer.Addr, lab.UplinkName, pod.Name)),
			ip(ctx, pod.Path, fmt.Sprintf(`addr add 172.16.1.%d/24 dev nsm-1
				link set nsm-1 up`, 101-i)))
		if err != nil {
			return nil, err
		}
	}
	return newPath(fmt.Sprintf(peerSetup, "a VXLAN device of MTU 1450, made on the node and moved into the pod by ip(8)"), near.Path, "172.16.1.101", far.Path, "172.16.1.100")
}

// veth is a bare veth pair between two pods, of the MTU that a local connection
// has: with larger segments several streams are slower here.
func (p *peers) veth(ctx context.Context) (*path, error) {
	near, far, err := p.pods("veth")
	if err != nil {
		return nil, err
	}
	err = ip(ctx, near.Path, fmt.Sprintf("link add nsm-1 mtu %[1]d type veth peer name nsm-1 mtu %[1]d netns %[2]s", plane.DefaultMTU, far.Name))
	for i, pod := range []*lab.Namespace{near, far} {
		err = errors.Join(err, ip(ctx, pod.Path, fmt.Sprintf(`addr add 172.16.3.%d/24 dev nsm-1
			link set nsm-1 up`, 101-i)))
	}
	if err != nil {
		return nil, err
	}
	return newPath(fmt.Sprintf("a veth pair of MTU %d between two network namespaces, made by ip(8)", plane.DefaultMTU), near.Path, "172.16.3.101", far.Path, "172.16.3.100")
}

// wireguard is Debian's wireguard-go in the nodes, with its TUN devices in the
// pods.
func (p *peers) wireguard(ctx context.Context) (_ *path, stop func() error, err error) {
	if err := require("wireguard-go", "wg"); err != nil {
		return nil, nil, err
	}
	near, far, err := p.pods("wg")
	if err != nil {
		return nil, nil, err
	}
	var tools []*lab.Tool
	stop = func() error {
		for _, t := range tools {
			t.Kill()
		}
		var err error
		for i := range tools {
			if removeErr := os.Remove(controlSocket(i)); !errors.Is(removeErr, os.ErrNotExist) {
				err = errors.Join(err, removeErr)
			}
		}
		return err
	}
	defer func() {
		if err != nil {
			_ = stop()
		}
	}()
	var keys [2]*ecdh.PrivateKey
	for i := range keys {
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return nil, nil, err
		}
	}
	var pids []int
	for i, pod := range []*lab.Namespace{near, far} {
		node, peer, name := p.lab.Nodes[i], p.lab.Nodes[1-i], controlName(i)
		tool, err := lab.Background(node.Path, "wireguard-go", "-f", name)
		if err != nil {
			return nil, nil, err
		}
		tools, pids = append(tools, tool), append(pids, tool.PID())
		if err := await(ctx, "wireguard-go listens", func() bool { return exec.Command("wg", "show", name).Run() == nil }); err != nil {
			return nil, nil, err
		}
		file := filepath.Join(p.lab.Dir, name+".key")
		if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(keys[i].Bytes())), 0o600); err != nil {
			return nil, nil, err
		}
		if _, err := lab.Run(ctx, "", "wg", "set", name, "listen-port", "51820", "private-key", file,
			"peer", base64.StdEncoding.EncodeToString(keys[1-i].PublicKey().Bytes()),
			"endpoint", peer.Addr.String()+":51820", "allowed-ips", "0.0.0.0/0"); err != nil {
			return nil, nil, err
		}
		if err := errors.Join(
			ip(ctx, node.Path, fmt.Sprintf("link set %s netns %s", name, pod.Name)),
			ip(ctx, pod.Path, fmt.Sprintf(`addr add 172.16.2.%d/24 dev %s
				link set %s mtu 1420 up`, 101-i, name, name)),
		); err != nil {
			return nil, nil, err
		}
	}
	if _, err := lab.Ping(ctx, near, netip.MustParseAddr("172.16.2.100"), 3); err != nil {
		return nil, nil, err
	}
	path, err := newPath(fmt.Sprintf(peerSetup, "wireguard-go as packaged by the distribution in each node, on UDP sockets, its TUN device of MTU 1420 in the pod"),
		near.Path, "172.16.2.101", far.Path, "172.16.2.100", pids...)
	return path, stop, err
}

// controlName is machine-wide: wireguard-go listens under this name in a
// common folder.
func controlName(i int) string   { return fmt.Sprintf("wgb%d%c", os.Getpid(), 'a'+i) }
func controlSocket(i int) string { return "/var/run/wireguard/" + controlName(i) + ".sock" }

// await polls until ok holds, for up to ten seconds.
func await(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
