// SPDX-License-Identifier: Apache-2.0

package filtermechanisms_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/filtermechanisms"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

func TestReach(t *testing.T) {
	for u, want := range map[string][]string{
		"unix:///nse.sock":    {"KERNEL", "MEMIF"},
		"inode://4/4026":      {"KERNEL", "MEMIF"},
		"tcp://10.0.0.2:5001": {"VXLAN", "VLAN"},
		"":                    {"KERNEL", "VXLAN", "MEMIF", "VLAN"},
	} {
		ctx := context.Background()
		if u != "" {
			parsed, err := url.Parse(u)
			require.NoError(t, err)
			ctx = clienturlctx.WithClientURL(ctx, parsed)
		}
		r := &networkservice.NetworkServiceRequest{
			Connection: new(networkservice.Connection),
			MechanismPreferences: []*networkservice.Mechanism{
				{Cls: cls.LOCAL, Type: "KERNEL"}, {Cls: cls.REMOTE, Type: "VXLAN"},
				{Cls: cls.LOCAL, Type: "MEMIF"}, {Cls: cls.REMOTE, Type: "VLAN"},
			},
		}
		_, err := filtermechanisms.NewClient().Request(ctx, r)
		require.NoError(t, err)
		var got []string
		for _, m := range r.GetMechanismPreferences() {
			got = append(got, m.GetType())
		}
		require.Equal(t, want, got, u)
	}
}
