// SPDX-License-Identifier: Apache-2.0

package cleanup_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/loopback"
	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/cleanup"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

func TestAllConnectionsAreClosedAtTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		opts []cleanup.Option
		told int // how many closes the next hop sees
	}{
		"everywhere":           {nil, 3},
		"in this process only": {[]cleanup.Option{cleanup.WithoutGRPCCall()}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			server, here := &recorder.Server{}, &recorder.Client{}
			cc := loopback.Serve(t, server, nil).Dial(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan struct{})
			client := next.NewNetworkServiceClient(
				begin.NewClient(), metadata.NewClient(), clientconn.NewClient(cc),
				cleanup.NewClient(ctx, append(test.opts, cleanup.WithDoneChan(done))...), here, connect.NewClient())
			for _, id := range []string{"a", "b", "c"} {
				_, err := client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}})
				require.NoError(t, err)
			}
			_, err := client.Close(t.Context(), &networkservice.Connection{Id: "b"})
			require.NoError(t, err)
			cancel()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				require.Fail(t, "not done")
			}
			require.Len(t, here.Closes(), 3)
			require.Len(t, server.Closes(), test.told)

			_, err = client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "late"}})
			require.NoError(t, err)
			require.Eventually(t, func() bool { return len(here.Closes()) == 4 }, 10*time.Second, time.Millisecond)
		})
	}
}
