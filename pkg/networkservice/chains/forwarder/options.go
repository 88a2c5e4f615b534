// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"net/url"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	registryauthorize "github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	monitorauthorize "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"
	"google.golang.org/grpc"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vlan"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/metrics"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/pinhole"
)

// Underlay is what tunnels must know of the network that they cross.
type Underlay = mtu.Underlay

// Option changes how NewServer makes the chain.
type Option func(*options)

type options struct {
	name              string
	connectTo         *url.URL
	dialTimeout       time.Duration
	dialOptions       []grpc.DialOption
	vxlanPort         uint16
	mechanismPriority []string
	classifier        pinhole.Classifier
	collector         *metrics.Collector
	socketFolder      string
	devices           vlan.Devices
	refusals          map[string]string

	authorizeServer  networkservice.NetworkServiceServer
	authorizeMonitor networkservice.MonitorConnectionServer
	authorizeNS      registryapi.NetworkServiceRegistryClient
	authorizeNSE     registryapi.NetworkServiceEndpointRegistryClient
}

func newOptions(changes []Option) *options {
	o := &options{
		name:             "forwarder",
		connectTo:        &url.URL{Scheme: "unix", Path: "/connect.to.socket"},
		dialTimeout:      750 * time.Millisecond,
		authorizeServer:  authorize.NewServer(authorize.Any()),
		authorizeMonitor: monitorauthorize.NewMonitorConnectionServer(monitorauthorize.Any()),
		authorizeNS:      registryauthorize.NewNetworkServiceRegistryClient(registryauthorize.Any()),
		authorizeNSE:     registryauthorize.NewNetworkServiceEndpointRegistryClient(registryauthorize.Any()),
	}
	for _, change := range changes {
		change(o)
	}
	return o
}

// WithName sets the name of our path segment.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithConnectTo sets the URL of the nsmgr.
func WithConnectTo(u *url.URL) Option { return func(o *options) { o.connectTo = u } }

// WithDialTimeout limits how long a connection to the next hop may take.
func WithDialTimeout(d time.Duration) Option { return func(o *options) { o.dialTimeout = d } }

// WithDialOptions sets how the nsmgr and the next hop are dialled.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(o *options) { o.dialOptions = opts }
}

// WithVXLANPort sets the UDP port that we receive VXLAN on; zero is 4789.
func WithVXLANPort(port uint16) Option { return func(o *options) { o.vxlanPort = port } }

// WithMechanismPriority moves mechanism types to the front of what we offer.
func WithMechanismPriority(types ...string) Option {
	return func(o *options) { o.mechanismPriority = types }
}

// WithClassifier sets the classifier whose pinholes tunnels need. Planes in
// which Linux receives the tunnels have none.
func WithClassifier(c pinhole.Classifier) Option { return func(o *options) { o.classifier = c } }

// WithCollector sets the collector that is told whose each connection is.
func WithCollector(c *metrics.Collector) Option { return func(o *options) { o.collector = c } }

// WithSocketFolder sets where memif sockets are made for clients that give no
// network namespace for them. Without it such clients are refused.
func WithSocketFolder(path string) Option { return func(o *options) { o.socketFolder = path } }

// WithDevices tells which devices lead to the networks of VLAN endpoints.
func WithDevices(d vlan.Devices) Option { return func(o *options) { o.devices = d } }

// WithRefusals gives reasons, by mechanism type, to clients that insist on a
// mechanism which the plane cannot make, or whose endpoint does.
func WithRefusals(reasons map[string]string) Option { return func(o *options) { o.refusals = reasons } }

// WithAuthorizeServer sets who may request connections.
func WithAuthorizeServer(s networkservice.NetworkServiceServer) Option {
	return func(o *options) { o.authorizeServer = s }
}

// WithAuthorizeMonitorServer sets who may watch connections.
func WithAuthorizeMonitorServer(s networkservice.MonitorConnectionServer) Option {
	return func(o *options) { o.authorizeMonitor = s }
}

// WithAuthorizeRegistryClients sets what is checked of the registry's answers.
func WithAuthorizeRegistryClients(
	ns registryapi.NetworkServiceRegistryClient, nse registryapi.NetworkServiceEndpointRegistryClient,
) Option {
	return func(o *options) { o.authorizeNS, o.authorizeNSE = ns, nse }
}
