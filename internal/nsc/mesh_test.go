// SPDX-License-Identifier: Apache-2.0

package nsc_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

func TestAClientConnectsAndClosesOnSIGTERM(t *testing.T) {
	m := newMesh(t, time.Hour)
	nse := m.endpoint("nse")
	nsc := m.client()
	nsc.await("all connections are up")
	require.Contains(t, nsc.output(), "interface nsm-1, addresses [172.16.1.1/32], endpoint nse")

	require.Equal(t, service.ExitOK, nsc.terminate())
	require.Contains(t, nsc.output(), "closed connection nsc-0")
	require.Equal(t, service.ExitOK, nse.terminate())
}
