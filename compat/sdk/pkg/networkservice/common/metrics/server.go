// SPDX-License-Identifier: Apache-2.0

// Package metrics exports what the hops of a path have counted, as OpenTelemetry
// counters named <segment>_<key>.
package metrics

import (
	"context"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/opentelemetry"
)

type metricServer struct {
	counters sync.Map // name -> metric.Int64Counter
}

// NewServer returns the element that exports the metrics of each reply. Values
// that are no whole numbers are left out. It needs metadata ahead in the chain.
func NewServer() networkservice.NetworkServiceServer { return new(metricServer) }

// lastKey holds what was exported last: counters take differences.
type lastKey struct{}

func (m *metricServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil || !opentelemetry.IsEnabled() {
		return conn, err
	}
	m.export(ctx, conn)
	return conn, nil
}

func (m *metricServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if opentelemetry.IsEnabled() {
		m.export(ctx, conn)
	}
	return next.Server(ctx).Close(ctx, conn)
}

func (m *metricServer) export(ctx context.Context, conn *networkservice.Connection) {
	stored, _ := metadata.Map(ctx, false).LoadOrStore(lastKey{}, make(map[string]int64))
	last := stored.(map[string]int64) // begin lets no other call for conn in
	attributes := metric.WithAttributes(
		attribute.String("connection", conn.GetId()),
		attribute.String("network_service", conn.GetNetworkService()),
		attribute.String("endpoint", conn.GetNetworkServiceEndpointName()))
	for _, segment := range conn.GetPath().GetPathSegments() {
		for key, text := range segment.GetMetrics() {
			value, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				continue
			}
			name := segment.GetName() + "_" + key
			counter, err := m.counter(name)
			if err != nil {
				log.FromContext(ctx).Warnf("metrics: counter %s: %v", name, err)
				continue
			}
			id := segment.GetId() + "/" + key
			if value < last[id] { // the hop has restarted and counts from zero
				last[id] = 0
			}
			counter.Add(ctx, value-last[id], attributes)
			last[id] = value
		}
	}
}

func (m *metricServer) counter(name string) (metric.Int64Counter, error) {
	if counter, ok := m.counters.Load(name); ok {
		return counter.(metric.Int64Counter), nil
	}
	counter, err := otel.Meter("").Int64Counter(name)
	if err != nil {
		return nil, err
	}
	m.counters.Store(name, counter)
	return counter, nil
}
