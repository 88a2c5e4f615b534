// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/metrics"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

func TestCountersFollowTheMetricsOfThePath(t *testing.T) {
	t.Setenv("TELEMETRY", "true")
	reader := sdkmetric.NewManualReader()
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))

	value := ""
	last := &recorder.Server{}
	last.OnReply = func(_ context.Context, conn *networkservice.Connection) error {
		conn.Path = &networkservice.Path{PathSegments: []*networkservice.PathSegment{{
			Name: "fwd", Id: "f", Metrics: map[string]string{"client_rx_bytes": value, "client_interface": "KERNEL/nsm-1"},
		}}}
		return nil
	}
	server := next.NewNetworkServiceServer(metadata.NewServer(), metrics.NewServer(), last)
	total := func() (sum int64, names []string) {
		var all metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &all))
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				names = append(names, m.Name)
				for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
					sum += point.Value
				}
			}
		}
		return sum, names
	}
	// The third hop has restarted and counts from zero again.
	for i, want := range []int64{100, 250, 260} {
		value = []string{"100", "250", "10"}[i]
		_, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a"}})
		require.NoError(t, err)
		sum, names := total()
		require.Equal(t, want, sum)
		require.Equal(t, []string{"fwd_client_rx_bytes"}, names)
	}
}
