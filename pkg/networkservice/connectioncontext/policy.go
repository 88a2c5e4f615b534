// SPDX-License-Identifier: Apache-2.0

package connectioncontext

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/podnet"
)

// protocols are the names that a policy may use in place of an IP protocol
// number.
var protocols = map[string]uint8{
	"icmp": unix.IPPROTO_ICMP, "tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP,
	"icmpv6": unix.IPPROTO_ICMPV6, "sctp": unix.IPPROTO_SCTP,
}

func newPolicy(p *networkservice.PolicyRoute) (podnet.Policy, error) {
	var policy podnet.Policy
	var err error
	if p.GetFrom() != "" {
		if policy.From, err = parsePrefix(p.GetFrom()); err != nil {
			return podnet.Policy{}, fmt.Errorf("connection context: policy: source %q: %w", p.GetFrom(), err)
		}
	}
	if policy.Protocol, err = parseProtocol(p.GetProto()); err != nil {
		return podnet.Policy{}, err
	}
	if policy.SrcPort, err = parsePorts("source", p.GetSrcPort()); err != nil {
		return podnet.Policy{}, err
	}
	if policy.DstPort, err = parsePorts("destination", p.GetDstPort()); err != nil {
		return podnet.Policy{}, err
	}
	policy.Routes, err = newRoutes(p.GetRoutes())
	return policy, err
}

func parseProtocol(text string) (uint8, error) {
	if text == "" {
		return 0, nil
	}
	if n, ok := protocols[strings.ToLower(text)]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("connection context: policy: protocol %q is no IP protocol number or known name", text)
	}
	return uint8(n), nil
}

func parsePorts(what, text string) (podnet.PortRange, error) {
	if text == "" {
		return podnet.PortRange{}, nil
	}
	r, err := networkservice.ParsePortRange(text)
	if err != nil {
		return podnet.PortRange{}, fmt.Errorf("connection context: policy: %s port %q: %w", what, text, err)
	}
	return podnet.PortRange{First: r.Start, Last: r.End}, nil
}
