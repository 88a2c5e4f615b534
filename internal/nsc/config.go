// SPDX-License-Identifier: Apache-2.0

// Package nsc is a client of network services that connects the pod it runs in and
// keeps it connected. It must run in the pod's network namespace.
package nsc

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/tools/awarenessgroups"
	"github.com/networkservicemesh/sdk/pkg/tools/nsurl"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

// Config has the names and defaults of the stock client.
type Config struct {
	Name            string                  `default:"nsc" desc:"name of the client; its connections are called NAME-0, NAME-1, ..."`
	ConnectTo       url.URL                 `default:"unix:///var/lib/networkservicemesh/nsm.io.sock" desc:"URL of the nsmgr" split_words:"true"`
	DialTimeout     time.Duration           `default:"5s" desc:"limit for dialling the nsmgr" split_words:"true"`
	RequestTimeout  time.Duration           `default:"15s" desc:"limit for one attempt to connect, or to close a connection" split_words:"true"`
	Labels          []string                `desc:"labels of the client for all services, as key=value; those in a URL win"`
	Mechanism       string                  `default:"kernel" desc:"mechanism for URLs without one, as in //service/nsm-1: kernel or memif"`
	NetworkServices []url.URL               `desc:"what to connect to: mechanism://service[@domain]/interface?label=value" split_words:"true"`
	MemifStack      bool                    `default:"true" desc:"whether memif connections get an IP stack of this process; false leaves their sockets, which are logged, to another program of the pod, and does not check them for life" split_words:"true"`
	AwarenessGroups awarenessgroups.Decoder `desc:"groups of NETWORK_SERVICES that may share addresses, as in [url,url],[url]; others may not" split_words:"true"`

	LocalDNSServerEnabled bool   `default:"true" desc:"whether names of services are resolved: from when a connection brings name servers, resolv.conf names LOCAL_DNS_SERVER_ADDRESS; it is put back at the end, or by the next run after a crash" envconfig:"LOCAL_DNS_SERVER_ENABLED"`
	LocalDNSServerAddress string `default:"127.0.0.1:53" desc:"where the pod's name server is" envconfig:"LOCAL_DNS_SERVER_ADDRESS"`

	LivenessCheckEnabled  bool          `default:"true" desc:"whether to ping the other end of each connection, and to find another endpoint when it is dead" split_words:"true"`
	LivenessCheckInterval time.Duration `default:"200ms" desc:"time between two checks" split_words:"true"`
	LivenessCheckTimeout  time.Duration `default:"1s" desc:"time in which one of four pings must be answered" split_words:"true"`
	service.Common
}

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	if _, err := netip.ParseAddrPort(c.LocalDNSServerAddress); c.LocalDNSServerEnabled && err != nil {
		return fmt.Errorf("NSM_LOCAL_DNS_SERVER_ADDRESS: %w", err)
	}
	if len(c.NetworkServices) == 0 {
		return errors.New("NSM_NETWORK_SERVICES: want at least one, such as kernel://my-service/nsm-1")
	}
	_, err := c.requests()
	return err
}

// requests makes a request for each of NetworkServices.
func (c *Config) requests() ([]*networkservice.NetworkServiceRequest, error) {
	labels, err := parseLabels(c.Labels)
	if err != nil {
		return nil, fmt.Errorf("NSM_LABELS: %w", err)
	}
	requests := make([]*networkservice.NetworkServiceRequest, len(c.NetworkServices))
	for i := range c.NetworkServices {
		u := (*nsurl.NSURL)(&c.NetworkServices[i])
		mechanism, err := c.mechanism(u)
		if err != nil {
			return nil, fmt.Errorf("NSM_NETWORK_SERVICES: %s: %w", &c.NetworkServices[i], err)
		}
		all := maps.Clone(labels)
		maps.Copy(all, u.Labels())
		requests[i] = &networkservice.NetworkServiceRequest{
			Connection: &networkservice.Connection{
				Id:             fmt.Sprintf("%s-%d", c.Name, i),
				NetworkService: u.NetworkService(),
				Labels:         all,
			},
			MechanismPreferences: []*networkservice.Mechanism{mechanism},
		}
	}
	return requests, nil
}

func (c *Config) mechanism(u *nsurl.NSURL) (*networkservice.Mechanism, error) {
	if u.NetworkService() == "" {
		return nil, errors.New("no network service in it")
	}
	mechanism := u.Mechanism()
	if mechanism.GetType() == "" {
		withScheme := *(*url.URL)(u)
		withScheme.Scheme = c.Mechanism
		mechanism = (*nsurl.NSURL)(&withScheme).Mechanism()
	}
	if t := mechanism.GetType(); t != kernel.MECHANISM && t != memif.MECHANISM {
		return nil, fmt.Errorf("mechanism %q: this client has kernel and memif", strings.ToLower(t))
	}
	if name := interfaceName(mechanism); len(name) > kernel.LinuxIfMaxLength {
		return nil, fmt.Errorf("interface name %q is longer than %d characters", name, kernel.LinuxIfMaxLength)
	}
	mechanism.Cls = cls.LOCAL
	return mechanism, nil
}

// interfaceName is the name that a mechanism gives its interface, of whatever kind.
func interfaceName(mechanism *networkservice.Mechanism) string {
	return mechanism.GetParameters()[common.InterfaceNameKey]
}

func parseLabels(pairs []string) (map[string]string, error) {
	labels := make(map[string]string)
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q: want key=value", pair)
		}
		labels[key] = value
	}
	return labels, nil
}
