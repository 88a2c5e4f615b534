// SPDX-License-Identifier: Apache-2.0

package nsurl_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/nsurl"
)

func TestNetworkServiceURLs(t *testing.T) {
	for _, test := range []struct {
		url, mechanism, service, ifName string
		labels                          map[string]string
	}{
		{"kernel://kernel2ip2kernel/nsm-1", "KERNEL", "kernel2ip2kernel", "nsm-1", map[string]string{}},
		{"memif://ns@domain.example/nsm-1?app=x&color=red", "MEMIF", "ns@domain.example", "nsm-1", map[string]string{"app": "x", "color": "red"}},
		{"vfio://ns", "VFIO", "ns", "", map[string]string{}},
		{"//ns/if-0", "", "ns", "", map[string]string{}},
	} {
		t.Run(test.url, func(t *testing.T) {
			u, err := url.Parse(test.url)
			require.NoError(t, err)
			ns := (*nsurl.NSURL)(u)
			require.Equal(t, test.service, ns.NetworkService())
			require.Equal(t, test.labels, ns.Labels())
			if test.mechanism == "" {
				require.Nil(t, ns.Mechanism())
				return
			}
			require.Equal(t, "LOCAL", ns.Mechanism().GetCls())
			require.Equal(t, test.mechanism, ns.Mechanism().GetType())
			require.Equal(t, test.ifName, ns.Mechanism().GetParameters()["name"])
		})
	}
}
