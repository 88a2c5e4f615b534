// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// requireCloseLeavesNothing ends the client, which closes its connection, while
// the connections of other rows stay.
func (r *row) requireCloseLeavesNothing(t *testing.T) {
	t.Helper()
	r.alone.Lock()
	defer r.alone.Unlock()
	before := r.openings(t)
	require.NoError(t, r.Client.Stop(10*time.Second))
	require.NoError(t, r.Client.Err(), "exit code after SIGTERM")
	r.requireGone(t)
	after := r.openings(t)
	for i := range before {
		want := before[i]
		if r.lab.Planes[i] == "embedded" && !r.Local() && (r.VLAN == 0 || i == 0) {
			want--
		}
		require.Equal(t, want, after[i], "uses of the classifier's pinholes on node %d", i+1)
	}
}

// openings counts who needs the classifiers' pinholes, by node.
func (r *row) openings(t *testing.T) (count [2]int) {
	t.Helper()
	for i, n := range r.lab.Nodes {
		for _, p := range statusOf(t, n).Pinholes {
			count[i] += p.References
		}
	}
	return count
}

// requireGone checks that nothing of the row's connection is left, with its client
// ended.
func (r *row) requireGone(t *testing.T) {
	t.Helper()
	eventually(t, 10*time.Second, "the link is gone on both nodes", func() bool {
		for _, n := range r.lab.Nodes {
			if r.linkIn(t, statusOf(t, n)) != nil {
				return false
			}
		}
		return true
	})
	pods := []*lab.Namespace{r.Client.Pod}
	if r.Endpoint.Pod != nil {
		pods = append(pods, r.Endpoint.Pod)
	}
	for _, pod := range pods {
		eventually(t, 10*time.Second, "interfaces and memif sockets in pods are gone", func() bool {
			return len(links(t, pod)) == 0 && len(memifSockets(t, pod)) == 0
		})
	}
}

// memifSockets lists the abstract control sockets in a pod's namespace.
func memifSockets(t *testing.T, pod *lab.Namespace) []string {
	t.Helper()
	var found []string
	require.NoError(t, netns.Do(pod.Path, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/unix")
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "/tmp/memif") {
				found = append(found, strings.TrimSpace(line))
			}
		}
		return err
	}))
	return found
}
