// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/networkservicemesh/api/pkg/api/registry"
)

// stream delivers responses and then its end.
type stream[R any] struct {
	grpc.ClientStream
	ctx       context.Context
	responses []R
}

func (s *stream[R]) Context() context.Context { return s.ctx }
func (s *stream[R]) Recv() (next R, err error) {
	if len(s.responses) == 0 {
		return next, io.EOF
	}
	next, s.responses = s.responses[0], s.responses[1:]
	return next, nil
}

func services(ctx context.Context) *stream[*registry.NetworkServiceResponse] {
	return &stream[*registry.NetworkServiceResponse]{ctx: ctx, responses: []*registry.NetworkServiceResponse{
		{NetworkService: &registry.NetworkService{Name: "a"}},
		{NetworkService: &registry.NetworkService{Name: "gone"}, Deleted: true},
		{NetworkService: &registry.NetworkService{Name: "b"}},
	}}
}

func endpoints(ctx context.Context) *stream[*registry.NetworkServiceEndpointResponse] {
	return &stream[*registry.NetworkServiceEndpointResponse]{ctx: ctx, responses: []*registry.NetworkServiceEndpointResponse{
		{NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: "a"}},
		{NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: "gone"}, Deleted: true},
		{NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: "b"}},
	}}
}

func TestListsLeaveOutWhatWasDeleted(t *testing.T) {
	list := registry.ReadNetworkServiceList(services(t.Context()))
	if len(list) != 2 || list[0].GetName() != "a" || list[1].GetName() != "b" {
		t.Errorf("services: %v", list)
	}
	found := registry.ReadNetworkServiceEndpointList(endpoints(t.Context()))
	if len(found) != 2 || found[0].GetName() != "a" || found[1].GetName() != "b" {
		t.Errorf("endpoints: %v", found)
	}
}

func TestChannelsDeliverEverythingAndClose(t *testing.T) {
	count := 0
	for range registry.ReadNetworkServiceChannel(services(t.Context())) {
		count++
	}
	for range registry.ReadNetworkServiceEndpointChannel(endpoints(t.Context())) {
		count++
	}
	if count != 6 {
		t.Errorf("%d responses, want 6", count)
	}
}

func TestACancelledReaderEndsTheChannel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	responses := registry.ReadNetworkServiceEndpointChannel(endpoints(ctx))
	<-responses
	cancel()
	deadline := time.After(5 * time.Second)
	for {
		select {
		case _, more := <-responses:
			if !more {
				return
			}
		case <-deadline:
			t.Fatal("the channel stays open")
		}
	}
}

func TestClonesAreDeep(t *testing.T) {
	response := &registry.NetworkServiceEndpointResponse{NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{
		Name: "a", NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{"s": {Labels: map[string]string{"k": "v"}}},
	}}
	clone := response.Clone()
	clone.GetNetworkServiceEndpoint().GetNetworkServiceLabels()["s"].Labels["k"] = "changed"
	if response.GetNetworkServiceEndpoint().GetNetworkServiceLabels()["s"].GetLabels()["k"] != "v" {
		t.Error("changing the clone changed the original")
	}
	service := &registry.NetworkServiceResponse{NetworkService: &registry.NetworkService{Name: "a"}}
	if !proto.Equal(service, service.Clone()) || !proto.Equal(service.GetNetworkService(), service.GetNetworkService().Clone()) ||
		!proto.Equal(response.GetNetworkServiceEndpoint(), response.GetNetworkServiceEndpoint().Clone()) {
		t.Error("a clone differs")
	}
}
