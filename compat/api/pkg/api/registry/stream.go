// SPDX-License-Identifier: Apache-2.0

package registry

import "context"

// ReadNetworkServiceList reads the stream to its end (or error) and returns what
// was found, without the entries that are reported as deleted.
func ReadNetworkServiceList(stream NetworkServiceRegistry_FindClient) []*NetworkService {
	var found []*NetworkService
	for response := range receive(stream.Recv) {
		if !response.GetDeleted() {
			found = append(found, response.GetNetworkService())
		}
	}
	return found
}

// ReadNetworkServiceEndpointList is ReadNetworkServiceList for endpoints.
func ReadNetworkServiceEndpointList(stream NetworkServiceEndpointRegistry_FindClient) []*NetworkServiceEndpoint {
	var found []*NetworkServiceEndpoint
	for response := range receive(stream.Recv) {
		if !response.GetDeleted() {
			found = append(found, response.GetNetworkServiceEndpoint())
		}
	}
	return found
}

// ReadNetworkServiceChannel returns a channel of what the stream delivers. It is
// closed when the stream ends; whoever stops reading earlier must cancel the
// stream's context.
func ReadNetworkServiceChannel(stream NetworkServiceRegistry_FindClient) <-chan *NetworkServiceResponse {
	return forward(stream.Context(), stream.Recv)
}

// ReadNetworkServiceEndpointChannel is ReadNetworkServiceChannel for endpoints.
func ReadNetworkServiceEndpointChannel(stream NetworkServiceEndpointRegistry_FindClient) <-chan *NetworkServiceEndpointResponse {
	return forward(stream.Context(), stream.Recv)
}

func receive[R any](next func() (R, error)) func(yield func(R) bool) {
	return func(yield func(R) bool) {
		for {
			response, err := next()
			if err != nil || !yield(response) {
				return
			}
		}
	}
}

func forward[R any](ctx context.Context, next func() (R, error)) <-chan R {
	out := make(chan R)
	go func() {
		defer close(out)
		for response := range receive(next) {
			select {
			case out <- response:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
