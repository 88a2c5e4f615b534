// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"text/template"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

const ruleSeparator = ";"

// GetIPTables4NatTemplate returns the rule templates, nil when there are none.
func (m *Mechanism) GetIPTables4NatTemplate() []string {
	rules, ok := m.params()[IPTables4NatTemplate]
	if !ok {
		return nil
	}
	return strings.Split(rules, ruleSeparator)
}

// SetIPTables4NatTemplate sets the rule templates and returns m.
func (m *Mechanism) SetIPTables4NatTemplate(rules ...string) *Mechanism {
	m.params()[IPTables4NatTemplate] = strings.Join(rules, ruleSeparator)
	return m
}

// EvaluateIPTables4NatTemplate fills the templates in with the interface's name
// (NsmInterfaceName) and the addresses of both ends (NsmSrcIPs, NsmDstIPs, lists of
// net.IP) and returns the rules.
func (m *Mechanism) EvaluateIPTables4NatTemplate(conn *networkservice.Connection) ([]string, error) {
	text, ok := m.params()[IPTables4NatTemplate]
	if !ok {
		return nil, errors.New("evaluate iptables template: none is set")
	}
	rules, err := template.New(IPTables4NatTemplate).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse iptables template: %w", err)
	}
	ipContext := conn.GetContext().GetIpContext()
	var out strings.Builder
	err = rules.Execute(&out, struct {
		NsmInterfaceName     string
		NsmSrcIPs, NsmDstIPs []net.IP
	}{
		NsmInterfaceName: m.GetInterfaceName(),
		NsmSrcIPs:        addresses(ipContext.GetSrcIPNets()),
		NsmDstIPs:        addresses(ipContext.GetDstIPNets()),
	})
	if err != nil {
		return nil, fmt.Errorf("evaluate iptables template: %w", err)
	}
	return strings.Split(out.String(), ruleSeparator), nil
}

func addresses(nets []*net.IPNet) (ips []net.IP) {
	for _, n := range nets {
		ips = append(ips, n.IP)
	}
	return ips
}
