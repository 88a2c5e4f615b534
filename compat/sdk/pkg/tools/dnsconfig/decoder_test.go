// SPDX-License-Identifier: Apache-2.0

package dnsconfig_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/dnsconfig"
)

func TestDecode(t *testing.T) {
	var configs dnsconfig.Decoder
	require.NoError(t, configs.Decode(`[{"dns_server_ips": ["1.1.1.1"], "search_domains": ["x"]}, {}]`))
	require.Len(t, configs, 2)
	require.Equal(t, []string{"1.1.1.1"}, configs[0].GetDnsServerIps())
	require.Equal(t, []string{"x"}, configs[0].GetSearchDomains())
	require.NoError(t, configs.Decode("[]"))
	require.Empty(t, configs)
	require.Error(t, configs.Decode("{}"))
}
