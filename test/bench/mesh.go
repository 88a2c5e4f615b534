// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// mesh is two nodes with registry, nsmgrs and forwarders, and a client and an
// endpoint for each kind of path.
type mesh struct {
	lab                     *lab.Lab
	vxlan, wireguard, local *path
	nsc, nse                *lab.Process
}

const meshSetup = "two network namespaces as nodes, joined by a veth pair of MTU 1500; " +
	"registry, nsmgr and our forwarder with the %s plane on each; %s"

// embeddedPlanes are those of the nodes unless a row is about another plane.
var embeddedPlanes = [2]string{"embedded", "embedded"}

// meshWords say what the paths of a plane are made of.
var meshWords = map[string]struct{ vxlan, wireguard, local string }{
	"embedded": {
		"client pod and endpoint pod on different nodes, payload ETHERNET: TAP, forwarder, VXLAN over AF_XDP, forwarder, TAP",
		"client pod and endpoint pod on different nodes, payload IP: TUN, forwarder, WireGuard over AF_XDP, forwarder, TUN",
		"client pod and endpoint pod on one node, payload ETHERNET: a veth pair that the forwarder made",
	},
	"kernel": {
		"client pod and endpoint pod on different nodes, payload ETHERNET: a VXLAN device of Linux in each pod that the forwarder made",
		"client pod and endpoint pod on different nodes, payload IP: a WireGuard device of Linux in each pod, or where Linux has none the forwarder's wireguard-go on a TUN and a UDP socket",
		"client pod and endpoint pod on one node, payload ETHERNET: a veth pair that the forwarder made",
	},
}

// startMesh runs it all, with a plane by its name.
func startMesh(ctx context.Context, bin, plane string) (_ *mesh, stop func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l, err := lab.New(lab.Config{Tag: "bench", Bin: bin, Planes: [2]string{plane, plane}})
	if err != nil {
		return nil, nil, err
	}
	m := &mesh{lab: l}
	if err := m.start(ctx, plane); err != nil {
		for _, p := range l.Processes() {
			err = fmt.Errorf("%w\n--- %s ---\n%s", err, p.Name, p.Tail(5))
		}
		_ = l.Close()
		return nil, nil, err
	}
	return m, l.Close, nil
}

func (m *mesh) start(ctx context.Context, plane string) error {
	if err := m.lab.Start(ctx); err != nil {
		return err
	}
	near, far, words := m.lab.Nodes[0], m.lab.Nodes[1], meshWords[plane]
	for _, c := range []struct {
		path    **path
		service string
		payload string
		subnet  string
		node    *lab.Node
		words   string
	}{
		{&m.vxlan, "kernel2ethernet2kernel", "ETHERNET", "172.16.1", far, words.vxlan},
		{&m.wireguard, "kernel2ip2kernel", "IP", "172.16.2", far, words.wireguard},
		{&m.local, "kernel2kernel", "ETHERNET", "172.16.3", near, words.local},
	} {
		nse, err := c.node.StartEndpoint(ctx, "nse-"+c.service, lab.Service{Name: c.service, Payload: c.payload, CIDR: c.subnet + ".100/31"}, nil)
		if err != nil {
			return err
		}
		// Under a flood of packets some checks would be lost, and the connection
		// replaced.
		nsc, err := near.StartClient("nsc-"+c.service, "kernel://"+c.service+"/nsm-1", map[string]string{"NSM_LIVENESS_CHECK_ENABLED": "false"})
		if err != nil {
			return err
		}
		if err := nsc.AwaitConnected(ctx); err != nil {
			return err
		}
		m.nsc, m.nse = nsc.Process, nse.Process
		*c.path, err = newPath(fmt.Sprintf(meshSetup, plane, c.words), nsc.Pod.Path, c.subnet+".101", nse.Pod.Path, c.subnet+".100",
			near.Forwarder.PID(), far.Forwarder.PID())
		if err != nil {
			return err
		}
	}
	return nil
}

// setupServices are for connections that carry nothing.
var setupServices = map[string]struct {
	lab.Service
	node int
}{
	"setup-local":     {lab.Service{Payload: "ETHERNET", CIDR: "172.17.1.0/24"}, 0},
	"setup-vxlan":     {lab.Service{Payload: "ETHERNET", CIDR: "172.17.2.0/24"}, 1},
	"setup-wireguard": {lab.Service{Payload: "IP", CIDR: "172.17.3.0/24"}, 1},
}

func (m *mesh) startSetupEndpoint(ctx context.Context, name string) error {
	s := setupServices[name]
	s.Name = name
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := m.lab.Nodes[s.node].StartEndpoint(ctx, "nse-"+name, s.Service, nil)
	return err
}
