// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// vlanService is a network service that is a VLAN outside of the mesh, as the
// stock remote VLAN endpoint has it in NSM_SERVICES:
//
//	finance-bridge { vlan: 100; via: gw-1; labels: color=red&size=2 }
type vlanService struct {
	Name string
	// ID of the VLAN; 0 is the untagged network, which only some forwarders can
	// join.
	ID uint16
	// Via tells forwarders which of their devices leads there.
	Via string
	// Domain is for people.
	Domain string
	// Labels of the endpoint for this service.
	Labels map[string]string
}

// Decode reads one element of NSM_SERVICES.
func (s *vlanService) Decode(text string) error {
	name, body, ok := strings.Cut(text, "{")
	body, rest, closed := strings.Cut(body, "}")
	if !ok || !closed || strings.TrimSpace(rest) != "" {
		return fmt.Errorf("%q: want NAME { vlan: ID; via: LABEL }", text)
	}
	*s = vlanService{Name: strings.TrimSpace(name)}
	for part := range strings.SplitSeq(body, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if err := s.set(part); err != nil {
			return fmt.Errorf("service %q: %w", s.Name, err)
		}
	}
	switch {
	case s.Name == "":
		return fmt.Errorf("%q: a service without a name", text)
	case s.Via == "":
		return fmt.Errorf("service %q: via is missing", s.Name)
	}
	return nil
}

func (s *vlanService) set(part string) error {
	key, value, ok := strings.Cut(part, ":")
	if !ok {
		return fmt.Errorf("%q: want key: value", part)
	}
	value = strings.TrimSpace(value)
	switch strings.TrimSpace(key) {
	case "vlan":
		id, err := strconv.ParseUint(value, 0, 16)
		if err != nil || id > 4094 {
			return fmt.Errorf("vlan: %q is not between 0 and 4094", value)
		}
		s.ID = uint16(id)
	case "via":
		s.Via = value
	case "domain":
		s.Domain = value
	case "labels":
		s.Labels = make(map[string]string)
		for pair := range strings.SplitSeq(value, "&") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return fmt.Errorf("labels: %q: want name=value", pair)
			}
			s.Labels[name] = value
		}
	default:
		return fmt.Errorf("%q: want vlan, via, domain or labels", key)
	}
	return nil
}

// isVLAN tells whether this is a remote VLAN endpoint. It serves no others'
// services.
func (c *Config) isVLAN() bool { return len(c.Services) > 0 }

// validateVLAN checks Services and ListenOn.
func (c *Config) validateVLAN() error {
	if !c.isVLAN() {
		return nil
	}
	if c.ListenOn.Scheme != "tcp" {
		return fmt.Errorf("NSM_LISTEN_ON=%s: forwarders of all nodes ask a VLAN endpoint: want tcp://ADDRESS:PORT", &c.ListenOn)
	}
	if c.ConnectTo.Scheme == "unix" {
		return fmt.Errorf("NSM_CONNECT_TO=%s: a VLAN endpoint registers with the registry itself, not with a node's nsmgr: "+
			"want tcp://ADDRESS:PORT", &c.ConnectTo)
	}
	names := make(map[string]bool)
	for _, s := range c.Services {
		if names[s.Name] {
			return fmt.Errorf("NSM_SERVICES: %s is there twice", s.Name)
		}
		names[s.Name] = true
	}
	c.ServiceNames = nil
	for _, s := range c.Services {
		c.ServiceNames = append(c.ServiceNames, s.Name)
	}
	return nil
}

// vlanListenOn is a copy of ListenOn for the server to change.
func (c *Config) vlanListenOn() *url.URL {
	u := c.ListenOn
	return &u
}

var errNoVLANAddress = errors.New("assign an address: NSM_CIDR_PREFIX has none left")
