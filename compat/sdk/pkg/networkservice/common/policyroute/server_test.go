// SPDX-License-Identifier: Apache-2.0

package policyroute_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/policyroute"
)

func TestPoliciesAreThoseThatHoldNow(t *testing.T) {
	var policies []*networkservice.PolicyRoute
	server := policyroute.NewServer(func() []*networkservice.PolicyRoute { return policies })
	conn := &networkservice.Connection{}
	for _, port := range []string{"80", "443", ""} {
		policies = nil
		if port != "" {
			policies = []*networkservice.PolicyRoute{{DstPort: port}}
		}
		var err error
		conn, err = server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
		require.NoError(t, err)
		require.Equal(t, policies, conn.GetContext().GetIpContext().GetPolicies())
	}
	_, err := server.Close(t.Context(), conn)
	require.NoError(t, err)
}
