// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	registryauthorize "github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	monitorauthorize "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"
	promserver "github.com/networkservicemesh/sdk/pkg/tools/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"

	"github.com/nsm-afxdp/forwarder/internal/logging"
	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/internal/status"
	chain "github.com/nsm-afxdp/forwarder/pkg/networkservice/chains/forwarder"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/metrics"
)

// Run is the forwarder, from start to end. It returns nil when ctx ends, after
// it has put back everything that it changed on the node.
func Run(ctx context.Context, c *Config) (err error) {
	started := time.Now()
	ctx, err = service.Logging(ctx, c.Name, c.LogLevel)
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	phase := newPhases(ctx)

	phase("start telemetry")
	stopTelemetry, err := c.Start(ctx, c.Name)
	if err != nil {
		return err
	}
	defer stopTelemetry()

	phase("set up the uplink and the plane")
	n, err := setUp(c, logging.NewSlog(logrus.StandardLogger()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.tearDown()) }()

	phase("get an SVID")
	identity, err := service.NewIdentity(ctx, c.MaxTokenLifetime)
	if err != nil {
		return ended(ctx, err)
	}
	defer func() { err = errors.Join(err, identity.Close()) }()

	phase("serve requests")
	collector := metrics.NewCollector(os.Getenv("PROMETHEUS_METRICS_PREFIX"), n.plane.Links)
	stopServing, listenOn, err := serve(ctx, c, n, identity, collector, fail)
	if err != nil {
		return err
	}
	defer stopServing()
	if promserver.IsEnabled() {
		if err := serveMetrics(ctx, c, n, collector, fail); err != nil {
			return err
		}
	}

	phase("register with the mesh")
	unregister, err := register(ctx, c, identity, listenOn)
	if err != nil {
		return ended(ctx, err)
	}
	defer unregister()

	phase("serve status")
	err = status.Serve(ctx, c.StatusSocket, func() (*status.Status, error) {
		s := &status.Status{Name: c.Name, PID: os.Getpid(), Started: started, Plane: c.ForwardingPlane}
		return s, n.describe(s)
	})
	if err != nil {
		return err
	}
	log.FromContext(ctx).Infof("Startup completed in %v", time.Since(started))

	trimMemory(ctx, trimInterval)
	return ended(ctx, nil)
}

// ended tells the end of the run apart: by signal, which is no error, by a
// failure of something that serves, or by err.
func ended(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, context.Canceled):
		return nil
	default:
		return cause
	}
}

// newPhases logs the beginning and the time of each phase of the start.
func newPhases(ctx context.Context) func(what string) {
	number, last := 0, time.Now()
	return func(what string) {
		number++
		log.FromContext(ctx).Infof("executing phase %d: %s (last phase took %v)", number, what, time.Since(last).Round(time.Microsecond))
		last = time.Now()
	}
}

// serve answers requests at c.ListenOn. The returned URL is the real address.
func serve(ctx context.Context, c *Config, n *node, identity *service.Identity, collector *metrics.Collector,
	fail context.CancelCauseFunc,
) (stop func(), listenOn *url.URL, err error) {
	// The chain outlives ctx a little: it closes its connections when the
	// server has stopped.
	chainCtx, stopChain := context.WithCancel(context.WithoutCancel(ctx))
	options := []chain.Option{
		chain.WithName(c.Name),
		chain.WithConnectTo(&c.ConnectTo),
		chain.WithDialTimeout(c.DialTimeout),
		chain.WithDialOptions(identity.DialOptions()...),
		chain.WithVXLANPort(c.VxlanPort),
		chain.WithMechanismPriority(c.MechanismPriority...),
		chain.WithCollector(collector),
		chain.WithSocketFolder(n.memifs),
		chain.WithDevices(n.devices),
		chain.WithRefusals(refusals(c.ForwardingPlane)),
		chain.WithAuthorizeServer(authorize.NewServer()),
		chain.WithAuthorizeMonitorServer(monitorauthorize.NewMonitorConnectionServer()),
		chain.WithAuthorizeRegistryClients(
			registryauthorize.NewNetworkServiceRegistryClient(registryauthorize.WithPolicies(c.RegistryClientPolicies...)),
			registryauthorize.NewNetworkServiceEndpointRegistryClient(registryauthorize.WithPolicies(c.RegistryClientPolicies...)),
		),
	}
	if n.classifier != nil {
		options = append(options, chain.WithClassifier(n.classifier))
	}
	endpoint, err := chain.NewServer(chainCtx, identity.Tokens, n.plane, n.underlay(), options...)
	if err != nil {
		stopChain()
		return nil, nil, err
	}
	server := grpc.NewServer(identity.ServerOptions()...)
	endpoint.Register(server)
	listenOn = &url.URL{Scheme: c.ListenOn.Scheme, Host: c.ListenOn.Host, Path: c.ListenOn.Path}
	serveCtx, stopServer := context.WithCancel(ctx)
	wait, err := service.Serve(serveCtx, server, fail, listenOn)
	if err != nil {
		stopServer()
		stopChain()
		return nil, nil, err
	}
	return func() {
		stopServer()
		server.Stop()
		wait()
		stopChain()
	}, listenOn, nil
}

// refusals are what clients are told that want what the plane has not.
func refusals(forwardingPlane string) map[string]string {
	if forwardingPlane != planeKernel {
		return nil
	}
	return map[string]string{memifmech.MECHANISM: "this node's forwarding plane (kernel) moves packets with Linux devices only; " +
		"ask for kernel://... or run the forwarder with NSM_FORWARDING_PLANE=embedded"}
}

// serveMetrics answers Prometheus.
func serveMetrics(ctx context.Context, c *Config, n *node, collector *metrics.Collector, fail context.CancelCauseFunc) error {
	collectors := []prometheus.Collector{collector, metrics.NewDropsCollector(n.plane.Drops)}
	if n.classifier != nil {
		collectors = append(collectors, metrics.NewClassifierCollector(n.classifier.Counters))
	}
	for _, collect := range collectors {
		if err := prometheus.Register(collect); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	server := promserver.NewServer(c.PrometheusListenOn,
		promserver.WithCustomCA(c.PrometheusCAFile),
		promserver.WithCustomCert(c.PrometheusCertFile, c.PrometheusKeyFile),
		promserver.WithHeaderTimeout(c.PrometheusServerHeaderTimeout),
		promserver.WithCertificateMonitoring(c.PrometheusMonitorCertificate),
		promserver.WithMaxBindThreshold(c.PrometheusMaxBindThreshold),
	)
	go server.ListenAndServe(ctx, func() { fail(errors.New("the metrics server ended")) })
	return nil
}

// register announces the forwarder to its nsmgr, and goes on doing so until ctx
// ends. The returned function takes the registration back, so that no request
// is sent to a forwarder that is gone.
func register(ctx context.Context, c *Config, identity *service.Identity, listenOn *url.URL) (unregister func(), err error) {
	policies := registryauthorize.WithPolicies(c.RegistryClientPolicies...)
	registerCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	client := registryclient.NewNetworkServiceEndpointRegistryClient(registerCtx,
		registryclient.WithClientURL(&c.ConnectTo),
		registryclient.WithDialOptions(identity.DialOptions()...),
		registryclient.WithNSEAdditionalFunctionality(
			clientinfo.NewNetworkServiceEndpointRegistryClient(),
			sendfd.NewNetworkServiceEndpointRegistryClient(),
		),
		registryclient.WithAuthorizeNSERegistryClient(registryauthorize.NewNetworkServiceEndpointRegistryClient(policies)),
	)
	nse, err := client.Register(ctx, &registryapi.NetworkServiceEndpoint{
		Name:                c.Name,
		NetworkServiceNames: []string{c.NSName},
		NetworkServiceLabels: map[string]*registryapi.NetworkServiceLabels{
			c.NSName: {Labels: c.Labels},
		},
		Url: listenOn.String(),
	})
	if err != nil {
		stop()
		return nil, fmt.Errorf("register with %s: %w", &c.ConnectTo, err)
	}
	log.FromContext(ctx).Infof("registered as %q", nse.GetName())
	return func() {
		defer stop()
		unregisterCtx, cancel := context.WithTimeout(registerCtx, 2*time.Second)
		defer cancel()
		if _, err := client.Unregister(unregisterCtx, nse); err != nil {
			log.FromContext(ctx).Warnf("take back the registration: %v", err)
		}
	}, nil
}
