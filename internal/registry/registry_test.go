// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

func TestDefaultsAreTheStockOnes(t *testing.T) {
	c := new(Config)
	require.NoError(t, service.Load(c))
	require.Len(t, c.ListenOn, 1)
	require.Equal(t, "unix:///listen.on.socket", c.ListenOn[0].String())
	require.Equal(t, time.Minute, c.ExpirePeriod)
	require.Equal(t, 10*time.Minute, c.MaxTokenLifetime)
	require.Empty(t, c.ProxyRegistryURL.String())
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	t.Setenv("NSM_EXPIRE_PERIOD", "0s")
	require.ErrorContains(t, service.Load(new(Config)), "NSM_EXPIRE_PERIOD")
	t.Setenv("NSM_EXPIRE_PERIOD", "1s")
	t.Setenv("NSM_LISTEN_ON", "")
	require.ErrorContains(t, service.Load(new(Config)), "NSM_LISTEN_ON")
}

func TestHelpListsTheVariables(t *testing.T) {
	var out bytes.Buffer
	require.Equal(t, service.ExitOK, Program().Execute(t.Context(), []string{"--help"}, &out, &out))
	for _, want := range []string{"NSM_EXPIRE_PERIOD  Duration (1m)", "NSM_PROXY_REGISTRY_URL  URL\n", "SPIFFE_ENDPOINT_SOCKET"} {
		require.Contains(t, out.String(), want)
	}
}
