// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"fmt"
	"net/url"
	"sync"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// Serve serves at all of the addresses until ctx ends, and writes the real ones back
// into them. It returns an error when one of them cannot be served at all. When
// serving fails later, fail gets the reason. The returned function waits for the end.
func Serve(ctx context.Context, server *grpc.Server, fail context.CancelCauseFunc, addresses ...*url.URL) (wait func(), err error) {
	ctx, stop := context.WithCancel(ctx)
	var serving sync.WaitGroup
	for _, address := range addresses {
		wanted := address.String()
		errs := grpcutils.ListenAndServe(ctx, address, server)
		select {
		case err := <-errs:
			stop()
			serving.Wait()
			return nil, fmt.Errorf("serve at %s: %w", wanted, err)
		default:
		}
		log.FromContext(ctx).Infof("listening on %s", address)
		serving.Go(func() {
			for err := range errs {
				if ctx.Err() == nil {
					fail(fmt.Errorf("serve at %s: %w", address, err))
				}
			}
		})
	}
	return func() { serving.Wait(); stop() }, nil
}

// Pointers gives Serve a list that was read from the environment.
func Pointers(urls []url.URL) []*url.URL {
	pointers := make([]*url.URL, len(urls))
	for i := range urls {
		pointers[i] = &urls[i]
	}
	return pointers
}
