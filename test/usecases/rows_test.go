// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"errors"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// variant is a lab that rows of the table run in, all side by side.
type variant struct {
	name string
	lab  lab.Config
	// local adds the rows with client and endpoint on one node.
	local bool
	// only names the rows that run; all do if it is nil.
	only []string
}

// Planes, by node.
var (
	embeddedBoth   = [2]string{"embedded", "embedded"}
	embeddedKernel = [2]string{"embedded", "kernel"}
	kernelEmbedded = [2]string{"kernel", "embedded"}
	kernelBoth     = [2]string{"kernel", "kernel"}
)

var variants = []variant{
	{name: "embedded to embedded", lab: lab.Config{Planes: embeddedBoth}, local: true},
	{name: "embedded to kernel", lab: lab.Config{Planes: embeddedKernel}},
	{name: "kernel to embedded", lab: lab.Config{Planes: kernelEmbedded}},
	{name: "kernel to kernel", lab: lab.Config{Planes: kernelBoth}, local: true},
	{name: "IPv6 underlay", lab: lab.Config{Planes: embeddedBoth, IPv6: true}},
	{name: "MTU 9000", lab: lab.Config{Planes: embeddedBoth, MTU: 9000}},
	{name: "MTU 1280", lab: lab.Config{Planes: embeddedBoth, MTU: 1280}},
	{name: "MTU 1280, IPv6 underlay", lab: lab.Config{Planes: embeddedBoth, MTU: 1280, IPv6: true}, only: fragmented},
	{name: "MTU 1280, embedded to kernel", lab: lab.Config{Planes: embeddedKernel, MTU: 1280}, only: fragmented},
	{name: "MTU 1280, kernel to embedded", lab: lab.Config{Planes: kernelEmbedded, MTU: 1280}, only: fragmented},
	{name: "MTU 1280, kernel to kernel", lab: lab.Config{Planes: kernelBoth, MTU: 1280}, only: fragmented},
	{name: "VLAN-tagged underlay", lab: lab.Config{Planes: embeddedBoth, VLAN: 100}},
}

// fragmented is a row of each kind of tunnel that may need fragments on the underlay.
var fragmented = []string{"Kernel2IP2Kernel_ipv6", "Kernel2Ethernet2Kernel"}

// TestRows runs the table of use cases: TestRows/VARIANT/ROW.
func TestRows(t *testing.T) {
	for i := range variants {
		v := &variants[i]
		t.Run(v.name, func(t *testing.T) { v.run(t) })
	}
	t.Run(testpmdVariant.name, runTestpmdRows)
}

// stage widths: how many rows do a thing at the same time.
const (
	connecting = 4
	streaming  = 4
)

// board is what the rows of a variant share.
type board struct {
	*variant
	lab *lab.Lab
	// absent is why the variant cannot be, or nil.
	absent error
	steps  *lockstep
	// connecting and streaming bound how many rows do it at a time; alone is held
	// by a row that needs the lab for itself.
	connecting, streaming chan struct{}
	alone                 sync.Mutex
}

func (v *variant) run(t *testing.T) {
	var rows []*usecase.Case
	for i := range usecase.Table {
		if c := &usecase.Table[i]; (v.local || !c.Local()) && (v.only == nil || slices.Contains(v.only, c.Name)) {
			rows = append(rows, c)
		}
	}
	b := newBoard(v, len(rows))
	b.start(t)
	var all sync.WaitGroup
	for _, c := range rows {
		all.Go(func() {
			defer b.steps.leave()
			t.Run(c.Name, func(t *testing.T) { b.row(t, c) })
		})
	}
	all.Wait()
	b.end(t)
}

func newBoard(v *variant, rows int) *board {
	return &board{
		variant: v, steps: newLockstep(rows),
		connecting: make(chan struct{}, connecting), streaming: make(chan struct{}, streaming),
	}
}

// end checks that the nodes are as they were before.
func (b *board) end(t *testing.T) {
	t.Helper()
	if b.absent != nil || t.Failed() {
		return
	}
	requireNothingLeft(t, b.lab)
	for _, n := range b.lab.Nodes {
		requireForwarderLeavesNothing(t, n)
	}
}

// start makes the variant's lab, with a switch for the hosts on VLANs.
func (b *board) start(t *testing.T) {
	t.Helper()
	cfg := b.variant.lab
	cfg.Switch = true
	if cfg.VLAN != 0 {
		if b.absent = noVLAN(); b.absent != nil {
			return
		}
	}
	b.lab = startLab(t, cfg)
	for i, n := range b.lab.Nodes {
		require.Equal(t, cfg.Planes[i], statusOf(t, n).Plane)
	}
}

// noVLAN says why this machine makes no VLAN interfaces, if it does not.
var noVLAN = sync.OnceValue(func() error {
	l, err := lab.New(lab.Config{Tag: "probe", VLAN: 100})
	if err != nil {
		return err
	}
	return l.Close()
})

// row takes one use case through all that must hold.
func (b *board) row(t *testing.T, c *usecase.Case) {
	if b.absent != nil {
		require.ErrorIs(t, b.absent, lab.ErrNoVLAN)
		t.Skip(lab.ErrNoVLAN)
	}
	if why := b.notOffered(c); why != "" {
		b.requireRefusal(t, c, why)
		return
	}
	if c.VLAN != 0 && b.lab.Planes[0] == "kernel" {
		if err := noVLAN(); err != nil {
			require.ErrorIs(t, err, lab.ErrNoVLAN)
			t.Skip(lab.ErrNoVLAN)
		}
	}
	r := b.connect(t, c)
	for _, w := range r.Ways() {
		_, err := w.PingLossless(within(t, 30*time.Second), 10, 56)
		require.NoError(t, err)
	}
	r.requireMTU(t)
	b.steps.next()
	r.requireCounted(t)
	b.steps.next()
	r.requireStream(t)
	b.steps.next()
	r.requireCloseLeavesNothing(t)
}

// row is a use case that runs on a board.
type row struct {
	*lab.Linked
	*board
}

// connect links client and endpoint, which end with the test.
func (b *board) connect(t *testing.T, c *usecase.Case) *row {
	t.Helper()
	r := b.launch(t, c, lab.Calm())
	require.NoError(t, r.AwaitUp(within(t, 40*time.Second)))
	return r
}

// launch starts client and endpoint, the client with more environment.
func (b *board) launch(t *testing.T, c *usecase.Case, env map[string]string) *row {
	t.Helper()
	b.connecting <- struct{}{}
	defer func() { <-b.connecting }()
	k, err := b.lab.Link(within(t, 30*time.Second), c, env)
	if errors.Is(err, ebpf.ErrNotSupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, k.Client.Stop(10*time.Second))
		require.NoError(t, k.Endpoint.Stop(10*time.Second))
	})
	return &row{Linked: k, board: b}
}

// Why rows cannot be.
const noMemif = "the kernel plane has no memif"

// refusals are what the client is told, by reason.
var refusals = map[string]*regexp.Regexp{
	noMemif: regexp.MustCompile(`mechanism MEMIF: not supported by this forwarder.*|offered KERNEL, supported here: MEMIF.*`),
}

// notOffered says why the planes cannot carry a row, if they cannot.
func (b *board) notOffered(c *usecase.Case) string {
	client, endpoint := b.lab.Planes[0], b.lab.Planes[1]
	if c.Local() {
		endpoint = client
	}
	if client == "kernel" && c.Client == plane.KindMemif || endpoint == "kernel" && c.Endpoint == plane.KindMemif {
		return noMemif
	}
	return ""
}

// requireRefusal checks that a row which cannot be is refused with the reason, and
// skips it.
func (b *board) requireRefusal(t *testing.T, c *usecase.Case, why string) {
	t.Helper()
	r := b.launch(t, c, lab.Calm())
	var told string
	require.NoError(t, r.Client.Await(within(t, 30*time.Second), "refused", func() bool {
		told = refusals[why].FindString(r.Client.Tail(30))
		return told != ""
	}))
	t.Log(told)
	require.False(t, r.Client.LogContains("all connections are up"))
	require.NoError(t, r.Client.Stop(10*time.Second))
	r.requireGone(t)
	t.Skip("refused, as it must be: " + why)
}
