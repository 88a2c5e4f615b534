// SPDX-License-Identifier: Apache-2.0

package grpcutils

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/networkservicemesh/api/pkg/api"
)

// RegisterHealthServices registers a gRPC health server that reports each NSM
// service that services implement, and the server as a whole, as serving.
func RegisterHealthServices(s grpc.ServiceRegistrar, services ...interface{}) {
	server := health.NewServer()
	grpc_health_v1.RegisterHealthServer(s, server)
	for _, service := range services {
		for _, name := range api.ServiceNames(service) {
			server.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
		}
	}
}
