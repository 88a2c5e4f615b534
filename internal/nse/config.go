// SPDX-License-Identifier: Apache-2.0

// Package nse is an endpoint of network services that gives each client addresses and
// answers pings, for whatever runs beside it in the pod. It must run in the pod's
// network namespace.
package nse

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/networkservicemesh/sdk/pkg/tools/cidr"
	"github.com/networkservicemesh/sdk/pkg/tools/dnsconfig"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

// Values of Config.IPAMPolicy.
const (
	polite = "polite"
	strict = "strict"
)

// Values in Config.Mechanism.
const (
	kernelName = "kernel"
	memifName  = "memif"
)

// Config has the names and defaults of the stock icmp-responder.
type Config struct {
	Name                   string            `default:"icmp-server" desc:"name of the endpoint"`
	ConnectTo              url.URL           `default:"unix:///var/lib/networkservicemesh/nsm.io.sock" desc:"URL of the nsmgr" split_words:"true"`
	RegistryClientPolicies []string          `default:"etc/nsm/opa/common/.*.rego,etc/nsm/opa/registry/.*.rego,etc/nsm/opa/client/.*.rego" desc:"paths of the OPA policies for the registry's answers" split_words:"true"`
	IPAMPolicy             string            `default:"polite" desc:"what to do with addresses that a client brings: polite keeps them, strict replaces those that are not from CIDR_PREFIX" envconfig:"IPAM_POLICY"`
	ServiceNames           []string          `default:"icmp-responder" desc:"network services that the endpoint offers" split_words:"true"`
	Payload                string            `default:"ETHERNET" desc:"payload of a service that it registers: ETHERNET or IP"`
	Labels                 map[string]string `desc:"labels of the endpoint, for each of its services"`
	DNSConfigs             dnsconfig.Decoder `default:"[]" desc:"JSON list of DNS configurations for clients: dns_server_ips, search_domains" envconfig:"DNS_CONFIGS"`
	CIDRPrefix             cidr.Groups       `default:"169.254.0.0/16" desc:"prefixes that the addresses of connections come from; a connection gets a pair from each group, as in [a,b],[c]" envconfig:"CIDR_PREFIX"`
	IdleTimeout            time.Duration     `default:"0" desc:"time without a connection after which the program ends; 0 is never" split_words:"true"`
	RegisterService        bool              `default:"true" desc:"whether to register the network services, too" split_words:"true"`
	UnregisterItself       bool              `default:"false" desc:"whether to unregister the endpoint at the end; else it expires" split_words:"true"`
	PBRConfigPath          string            `default:"/etc/policy-based-routing/config.yaml" desc:"YAML list of policy routes for clients; the file may change or be missing" envconfig:"PBR_CONFIG_PATH"`
	Mechanism              []string          `default:"kernel" desc:"mechanisms that the endpoint takes, kernel and memif; of both a forwarder prefers memif"`
	MemifStack             bool              `default:"true" desc:"whether memif connections get an IP stack of this process; false leaves their sockets, which are logged, to another program of the pod" split_words:"true"`
	INETServices           bool              `default:"false" desc:"whether ECHO, DISCARD and CHARGEN (ports 7, 9, 19; TCP and UDP) are served on kernel connections; on memif connections they always are" envconfig:"INET_SERVICES"`

	// For a remote VLAN endpoint, with the names of the stock one.
	Services []vlanService `desc:"network services that are VLANs, as in NAME { vlan: 100; via: gw-1 }, in place of those in SERVICE_NAMES"`
	ListenOn url.URL       `default:"tcp://:5003" desc:"where forwarders reach an endpoint of VLANs; others listen on a socket file" split_words:"true"`

	service.Common
}

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	if c.IPAMPolicy != polite && c.IPAMPolicy != strict {
		return fmt.Errorf("NSM_IPAM_POLICY=%q: want polite or strict", c.IPAMPolicy)
	}
	if c.Payload != "ETHERNET" && c.Payload != "IP" {
		return fmt.Errorf("NSM_PAYLOAD=%q: want ETHERNET or IP", c.Payload)
	}
	for _, mechanism := range c.Mechanism {
		if m := strings.ToLower(mechanism); m != kernelName && m != memifName && !c.isVLAN() {
			return fmt.Errorf("NSM_MECHANISM=%q: want kernel, memif or both", mechanism)
		}
	}
	if err := c.validateVLAN(); err != nil {
		return err
	}
	if len(c.ServiceNames) == 0 {
		return fmt.Errorf("NSM_SERVICE_NAMES: want at least one name")
	}
	if len(c.CIDRPrefix) == 0 {
		return fmt.Errorf("NSM_CIDR_PREFIX: want at least one prefix")
	}
	return nil
}
