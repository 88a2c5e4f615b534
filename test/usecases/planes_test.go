// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// TestAnyPlaneWithAnyPlane runs the remote use cases between nodes whose
// forwarders move packets in different ways.
func TestAnyPlaneWithAnyPlane(t *testing.T) {
	for _, planes := range [][2]string{{"embedded", "kernel"}, {"kernel", "embedded"}, {"kernel", "kernel"}} {
		t.Run(planes[0]+" to "+planes[1], func(t *testing.T) {
			l := newLab(t, lab.Config{})
			ctx := within(t, 30*time.Second)
			require.NoError(t, l.StartRegistry(ctx))
			for i, n := range l.Nodes {
				require.NoError(t, n.StartNSMgr(ctx))
				require.NoError(t, n.StartForwarder(ctx, map[string]string{"NSM_FORWARDING_PLANE": planes[i]}))
				require.Equal(t, planes[i], statusOf(t, n).Plane)
			}
			cases := []useCase{vxlanCase, wgCase}
			if planes[0] == "kernel" {
				cases = append(cases, localCase)
			}
			for _, u := range cases {
				k := link(t, l, u)
				k.requirePing(t)
				requireTCP(t, k)
				require.NoError(t, k.nsc.Stop(5*time.Second))
				requireNothingLeft(t, l, k.nsc.Pod, k.nse.Pod)
				require.NoError(t, k.nse.Stop(5*time.Second))
			}
		})
	}
}
