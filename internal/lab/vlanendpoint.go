// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// vlanEndpointPort is where endpoints for VLANs listen, the first of them.
const vlanEndpointPort = 5003

// startVLAN connects a host to the use case's VLAN, and runs the endpoint that
// tells forwarders of it, on the second node. The endpoint moves no packets.
func (k *Linked) startVLAN(ctx context.Context, l *Lab) (err error) {
	k.Host, err = l.AddVLANHost(k.VLAN, netip.PrefixFrom(k.EndpointAddr(), k.CIDR.Bits()))
	if err != nil {
		return err
	}
	n := l.Nodes[1]
	l.mu.Lock()
	port := vlanEndpointPort + l.vlanEndpoints
	l.vlanEndpoints++
	l.mu.Unlock()
	p, err := n.process(n.Namespace, "nse-"+k.Service, map[string]string{
		"NSM_NAME":             "nse-" + k.Service,
		"NSM_CONNECT_TO":       l.registryURL(),
		"NSM_LISTEN_ON":        "tcp://" + net.JoinHostPort(n.Addr.String(), fmt.Sprint(port)),
		"NSM_SERVICES":         fmt.Sprintf("%s { vlan: %d; via: gw1 }", k.Service, k.VLAN),
		"NSM_CIDR_PREFIX":      k.CIDR.String(),
		"NSM_REGISTER_SERVICE": "true",
	})
	if err != nil {
		return err
	}
	p.argv[0] = l.Bin + "/nse"
	if err := n.startListening(ctx, p, port); err != nil {
		return err
	}
	k.Endpoint = &Endpoint{Process: p}
	return p.Await(ctx, "ready", func() bool { return p.LogContains("startup completed") })
}
