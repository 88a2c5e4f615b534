// SPDX-License-Identifier: Apache-2.0

// Package forwarder is the forwarder process: its configuration, what it sets
// up on the node, and the phases of a run. The chain that answers requests is in
// pkg/networkservice/chains/forwarder.
package forwarder

import (
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// Config is read from the environment, prefix NSM_. The first part has the
// stock forwarder's names and defaults.
type Config struct {
	Name                   string            `default:"forwarder" desc:"name of the forwarder and of its registration"`
	Labels                 map[string]string `default:"p2p:true" desc:"labels of the registration"`
	NSName                 string            `default:"forwarder" desc:"network service that the forwarder registers for" split_words:"true" envconfig:"NSNAME"`
	ConnectTo              url.URL           `default:"unix:///connect.to.socket" desc:"URL of the nsmgr" split_words:"true"`
	ListenOn               url.URL           `default:"unix:///listen.on.socket" desc:"URL to serve requests on" split_words:"true"`
	MaxTokenLifetime       time.Duration     `default:"10m" desc:"longest lifetime of a token" split_words:"true"`
	RegistryClientPolicies []string          `default:"etc/nsm/opa/common/.*.rego,etc/nsm/opa/registry/.*.rego,etc/nsm/opa/client/.*.rego" desc:"paths of OPA policies for the registry's answers" split_words:"true"`
	LogLevel               string            `default:"INFO" desc:"log level: TRACE, DEBUG, INFO, WARN, ERROR" split_words:"true"`
	DialTimeout            time.Duration     `default:"750ms" desc:"limit for dialling the next hop" split_words:"true"`

	service.Telemetry

	PrometheusListenOn            string        `default:":8081" desc:"address to serve Prometheus metrics on, used if PROMETHEUS is set" split_words:"true"`
	PrometheusCAFile              string        `default:"" desc:"CA of clients that may read the metrics" split_words:"true" envconfig:"PROMETHEUS_CA_FILE"`
	PrometheusKeyFile             string        `default:"" desc:"key of the metrics server" split_words:"true"`
	PrometheusCertFile            string        `default:"" desc:"certificate of the metrics server" split_words:"true"`
	PrometheusMonitorCertificate  bool          `default:"false" desc:"reload the certificate when its file changes" split_words:"true"`
	PrometheusServerHeaderTimeout time.Duration `default:"5s" desc:"limit for reading a request's header" split_words:"true"`
	PrometheusMaxBindThreshold    time.Duration `default:"120s" desc:"how long to try to bind the metrics server" split_words:"true"`

	TunnelIP          net.IP   `desc:"IP address of this node's end of tunnels; by default the first of the interface with the default route" split_words:"true" envconfig:"TUNNEL_IP"`
	VxlanPort         uint16   `default:"0" desc:"UDP port of VXLAN; 0 is 4789" split_words:"true"`
	MechanismPriority []string `default:"" desc:"mechanism types to prefer, best first" split_words:"true"`

	DeviceSelectorFile string `default:"" desc:"YAML file that names the devices behind which VLAN endpoints' networks are; without one all are on the uplink" split_words:"true"`

	// What follows is ours.

	ForwardingPlane string        `default:"auto" desc:"what moves packets: auto, embedded, or kernel for Linux devices only" split_words:"true"`
	XDPMode         string        `default:"auto" desc:"how the classifier attaches to the uplink: auto, native, generic" envconfig:"XDP_MODE"`
	AFXDPMode       string        `default:"auto" desc:"how AF_XDP sockets bind: auto, copy, zerocopy" envconfig:"AF_XDP_MODE"`
	HugePages       bool          `default:"true" desc:"take packet memory from the reserve of 2 MiB pages, if there are enough" split_words:"true"`
	BusyPoll        time.Duration `default:"0" desc:"how long a read of the sockets polls the driver (SO_BUSY_POLL, preferred over interrupts); 0 leaves it to interrupts" split_words:"true"`
	DirectMemif     bool          `default:"true" desc:"lead two memif pods of this node to each other; false has the forwarder carry, and count, their packets" split_words:"true"`
	BPFFS           string        `default:"/sys/fs/bpf" desc:"where a bpffs is, or is to be mounted, for the pins that let a restart take over; empty for no pins" envconfig:"BPF_FS"`
	KeepLinks       bool          `default:"true" desc:"of the kernel plane: leave links up on exit for the next run to adopt" split_words:"true"`
	KeepClassifier  bool          `default:"false" desc:"leave the idle classifier attached on exit, for drivers whose link goes down when XDP detaches" split_words:"true"`
	StatusSocket    string        `default:"/var/run/nsm-forwarder/status.sock" desc:"unix socket that forwarder status asks" split_words:"true"`
	StateFile       string        `default:"/var/run/nsm-forwarder/settings.json" desc:"file that remembers changed settings of the host until they are put back" split_words:"true"`
}

// The planes, as values of NSM_FORWARDING_PLANE.
const (
	planeEmbedded = "embedded"
	planeKernel   = "kernel"
)

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	switch c.ForwardingPlane {
	case "auto":
		c.ForwardingPlane = planeEmbedded
	case planeEmbedded, planeKernel:
	default:
		return fmt.Errorf("NSM_FORWARDING_PLANE=%q: want auto, embedded or kernel", c.ForwardingPlane)
	}
	if _, ok := xdpModes[c.XDPMode]; !ok {
		return fmt.Errorf("NSM_XDP_MODE=%q: want auto, native or generic", c.XDPMode)
	}
	if _, ok := socketModes[c.AFXDPMode]; !ok {
		return fmt.Errorf("NSM_AF_XDP_MODE=%q: want auto, copy or zerocopy", c.AFXDPMode)
	}
	if c.ListenOn.Scheme != "unix" && c.ListenOn.Scheme != "tcp" {
		return fmt.Errorf("NSM_LISTEN_ON=%s: the scheme must be unix or tcp", &c.ListenOn)
	}
	return nil
}

var xdpModes = map[string]classifier.Mode{
	"auto": classifier.Auto, "native": classifier.Native, "generic": classifier.Generic,
}

var socketModes = map[string]xsk.Mode{
	"auto": xsk.Auto, "copy": xsk.Copy, "zerocopy": xsk.ZeroCopy,
}
