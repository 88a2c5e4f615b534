// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/testpmd"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// testpmdVariant is where the client pod's program is not ours: nsc negotiates, and
// dpdk-testpmd is at the memif.
var testpmdVariant = variant{name: "client pod is dpdk-testpmd", lab: lab.Config{Planes: embeddedBoth}}

// testpmdRows are those with Ethernet to Linux, which resolves testpmd's address.
var testpmdRows = []string{"Memif2Ethernet2Kernel", "Memif2Kernel", "Memif2RVlan"}

func runTestpmdRows(t *testing.T) {
	if err := testpmd.Look(); err != nil {
		t.Skip(err)
	}
	cases, err := usecase.FindAll(testpmdRows)
	require.NoError(t, err)
	b := newBoard(&testpmdVariant, 1)
	b.start(t)
	for i := range cases {
		t.Run(cases[i].Name, func(t *testing.T) { b.testpmdRow(t, &cases[i]) })
	}
	b.end(t)
}

// memifSocket is what nsc logs for other programs.
var memifSocket = regexp.MustCompile(`memif socket (@\S+) role slave mode ethernet`)

// testpmdRow pings a pod in which testpmd answers, and compares what it and the
// forwarder have counted.
func (b *board) testpmdRow(t *testing.T, c *usecase.Case) {
	env := lab.Calm()
	env["NSM_MEMIF_STACK"] = "false"
	r := b.launch(t, c, env)
	require.NoError(t, r.Client.AwaitConnected(within(t, 40*time.Second)))
	log, err := os.ReadFile(r.Client.Log)
	require.NoError(t, err)
	socket := memifSocket.FindSubmatch(log)
	require.NotNil(t, socket, "%s", log)
	p := startTestpmd(t, r.Client.Pod, string(socket[1]))

	back := r.Ways()[1]
	// ping(8) does not send in a burst what waits for an address to be resolved.
	_, err = back.PingLossless(within(t, 30*time.Second), 1, 56)
	require.NoError(t, err)
	for _, size := range []int{56, countedSize, r.pathMTU(c) - ipHeader(c) - echoHeader} {
		_, err := back.PingLossless(within(t, 30*time.Second), counted, size, "-M", "do")
		require.NoError(t, err)
	}
	var saw, told plane.Counters
	for range attempts {
		before := r.quiet(t)
		saw = turned(t, p)
		if after := r.quiet(t); after.links[0].Client.Counters == before.links[0].Client.Counters {
			told = after.links[0].Client.Counters
			break
		}
	}
	told.Drops = 0 // of what came before testpmd did
	require.Equal(t, saw, told, "testpmd's counters, turned round, and the forwarder's")
	require.GreaterOrEqual(t, saw.RxPackets, uint64(3*counted))
	require.NoError(t, p.Quit())
	r.requireCloseLeavesNothing(t)
}

// startTestpmd runs testpmd in a pod with a memif whose master listens on an
// abstract socket, where it answers ARP and echo requests.
func startTestpmd(t *testing.T, pod *lab.Namespace, socket string) *testpmd.Process {
	t.Helper()
	p, err := testpmd.Start(testpmd.Config{
		NetNS: pod.Path, CPU: 1, Mode: "icmpecho",
		Devices: []string{testpmd.Memif(0, "client", socket)},
	})
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	eventually(t, 20*time.Second, "testpmd's link is up", func() bool {
		up, err := p.LinkUp(0)
		require.NoError(t, err)
		return up
	})
	require.NoError(t, p.Forward())
	return p
}

// turned are testpmd's counters as the forwarder should have them.
func turned(t *testing.T, p *testpmd.Process) plane.Counters {
	t.Helper()
	c, err := p.Counters(0)
	require.NoError(t, err)
	return plane.Counters{RxPackets: c.TxPackets, RxBytes: c.TxBytes, TxPackets: c.RxPackets, TxBytes: c.RxBytes}
}
