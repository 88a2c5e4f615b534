// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// The kernel plane has no memif. A client that wants nothing else learns so and
// what to do; others are served.
func TestAClientThatInsistsOnMemifIsToldWhyThereIsNone(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{Planes: [2]string{"kernel", "kernel"}})
	k := link(t, l, localCase)
	nsc, err := l.Nodes[0].StartClient("nsc-memif", "memif://"+localCase.name+"/nsm-1", nil)
	require.NoError(t, err)
	awaitRefusal(t, nsc, "mechanism MEMIF: not supported by this forwarder: this node's forwarding plane (kernel) moves packets "+
		"with Linux devices only; ask for kernel://... or run the forwarder with NSM_FORWARDING_PLANE=embedded")
	require.NoError(t, nsc.Stop(5*time.Second))
	require.Empty(t, links(t, nsc.Pod))
	k.requirePing(t)
}
