// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	vlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	wgmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// way is a pair of mechanisms that a forwarder joins.
type way struct {
	name, payload string
	// in is the client's mechanism; answer is what the next hop makes of our
	// offers.
	in     func(*world) *networkservice.Mechanism
	answer func(*world, []*networkservice.Mechanism) *networkservice.Mechanism
	// remote says that the next hop is on another node.
	remote bool
	// opens is what of the classifier is needed.
	opens string
	// noKernel says that no interface is made in a pod.
	noKernel bool
}

// Values of way.opens.
const (
	nothing = ""
	pinhole = "a pinhole"
	vlanID  = "a VLAN id"
)

var ways = []way{
	{"kernel to VXLAN", "ETHERNET", kernelIn, vxlanAnswer, true, pinhole, false},
	{"VXLAN to kernel", "ETHERNET", vxlanIn, kernelAnswer, false, pinhole, false},
	{"kernel to WireGuard", "IP", kernelIn, wireguardAnswer, true, pinhole, false},
	{"WireGuard to kernel", "IP", wireguardIn, kernelAnswer, false, pinhole, false},
	{"kernel to kernel", "ETHERNET", kernelIn, kernelAnswer, false, nothing, false},
	{"memif to VXLAN", "ETHERNET", memifIn, vxlanAnswer, true, pinhole, true},
	{"WireGuard to memif", "IP", wireguardIn, memifAnswer, false, pinhole, true},
	{"kernel to memif", "ETHERNET", kernelIn, memifAnswer, false, nothing, false},
	{"memif to memif", "IP", memifIn, memifAnswer, false, nothing, true},
	{"kernel to VLAN", "ETHERNET", kernelIn, vlanAnswer, true, vlanID, false},
}

func memifIn(w *world) *networkservice.Mechanism {
	return &networkservice.Mechanism{Cls: cls.LOCAL, Type: memifmech.MECHANISM, Parameters: map[string]string{
		memifmech.NetNSURL: "file://" + w.pods[0], "name": "nsm-1",
	}}
}

func memifAnswer(w *world, offers []*networkservice.Mechanism) *networkservice.Mechanism {
	m := offered(offers, memifmech.MECHANISM)
	memifmech.ToMechanism(m).SetNetNSURL("file://" + w.pods[1])
	memifmech.ToMechanism(m).SetSocketFilename("@/tmp/memif/endpoint/memif.socket")
	return m
}

func vlanAnswer(_ *world, offers []*networkservice.Mechanism) *networkservice.Mechanism {
	m := offered(offers, vlanmech.MECHANISM)
	vlanmech.ToMechanism(m).SetVlanID(100)
	return m
}

func kernelIn(w *world) *networkservice.Mechanism {
	return &networkservice.Mechanism{Cls: cls.LOCAL, Type: kernelmech.MECHANISM, Parameters: map[string]string{
		kernelmech.NetNSURL: "file://" + w.pods[0], "name": "nsm-1",
	}}
}

func kernelAnswer(w *world, offers []*networkservice.Mechanism) *networkservice.Mechanism {
	m := offered(offers, kernelmech.MECHANISM)
	kernelmech.ToMechanism(m).SetNetNSURL("file://" + w.pods[1])
	return m
}

func vxlanIn(*world) *networkservice.Mechanism {
	m := &networkservice.Mechanism{Cls: cls.REMOTE, Type: vxlanmech.MECHANISM, Parameters: map[string]string{}}
	vxlanmech.ToMechanism(m).SetSrcIP(peerIP).SetSrcPort(4789)
	return m
}

func vxlanAnswer(_ *world, offers []*networkservice.Mechanism) *networkservice.Mechanism {
	m := offered(offers, vxlanmech.MECHANISM)
	vxlanmech.ToMechanism(m).SetDstIP(peerIP).SetDstPort(4789).SetVNI(7)
	return m
}

func wireguardIn(*world) *networkservice.Mechanism {
	m := &networkservice.Mechanism{Cls: cls.REMOTE, Type: wgmech.MECHANISM, Parameters: map[string]string{}}
	wgmech.ToMechanism(m).SetSrcIP(peerIP).SetSrcPort(51820).SetSrcPublicKey(publicKey())
	return m
}

func wireguardAnswer(_ *world, offers []*networkservice.Mechanism) *networkservice.Mechanism {
	m := offered(offers, wgmech.MECHANISM)
	wgmech.ToMechanism(m).SetDstIP(peerIP).SetDstPort(51820).SetDstPublicKey(publicKey())
	return m
}

func offered(offers []*networkservice.Mechanism, kind string) *networkservice.Mechanism {
	for _, o := range offers {
		if o.GetType() == kind {
			return o.Clone()
		}
	}
	return nil
}

var peerIP = net.IPv4(192, 0, 2, 2).To4()

func publicKey() string {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())
}

func newRequest(w *world, u *way) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "client-1", NetworkService: service, Payload: u.payload, Mechanism: u.in(w),
		Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{
			Name: "client", Id: "client-1", Token: "token", Expires: timestamppb.New(time.Now().Add(time.Hour)),
		}}},
	}}
}

// failures are the steps of a connection's set-up, each failing once.
var failures = []struct {
	name  string
	fail  func(*world)
	want  string
	skips func(*way) bool
	tries bool // until its time is over
}{
	{name: "the registry does not answer", fail: func(w *world) { w.registryDown.Store(true) }, want: "registry is down", tries: true},
	{name: "the next hop refuses", fail: func(w *world) {
		w.hop.change = func(*networkservice.Connection) error { return errors.New("no address left") }
	}, want: "no address left"},
	{name: "the next hop's mechanism is unknown", fail: func(w *world) {
		w.hop.change = func(c *networkservice.Connection) error {
			c.Mechanism = &networkservice.Mechanism{Cls: cls.LOCAL, Type: "PIGEON"}
			return nil
		}
	}, want: "no mechanism was agreed with the endpoint"},
	{name: "the next hop's mechanism lacks parameters", fail: func(w *world) {
		w.hop.change = func(c *networkservice.Connection) error {
			clear(c.GetMechanism().GetParameters())
			return nil
		}
	}, want: "mechanism: "},
	{name: "the pinhole does not open", fail: func(w *world) { w.classifier.fail = errors.New("map is full") }, want: "map is full",
		skips: func(u *way) bool { return u.opens == nothing }},
	{name: "the plane does not join", fail: func(w *world) { w.plane.fail = errors.New("no memory") }, want: "no memory"},
	{name: "an address does not parse", fail: func(w *world) {
		w.hop.change = func(c *networkservice.Connection) error {
			c.GetContext().GetIpContext().SrcIpAddrs = []string{"172.16.1.300/32"}
			return nil
		}
	}, want: "172.16.1.300"},
	{name: "an interface vanished", fail: func(w *world) { w.plane.makeNothing = true }, want: "configure kernel",
		skips: func(u *way) bool { return u.noKernel }},
	{name: "the request's time is over", fail: func(w *world) { w.hop.stall = true }, want: "Deadline", tries: true},
}

// A request has time enough to fail for its own reason on a busy machine; one
// that is tried until its time is over need not have so much.
const (
	requestTime = 20 * time.Second
	triesTime   = 500 * time.Millisecond
)

func TestAFailureAtAnyStepLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making interfaces in network namespaces needs root")
	}
	for i := range ways {
		u := &ways[i]
		t.Run(u.name, func(t *testing.T) {
			w := newWorld(t, u)
			w.upAndDown(t, u)
			files := openFiles(t)
			for _, f := range failures {
				if f.skips != nil && f.skips(u) {
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					f.fail(w)
					limit := requestTime
					if f.tries {
						limit = triesTime
					}
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					_, err := w.forwarder.Request(ctx, newRequest(w, u))
					require.ErrorContains(t, err, f.want)
					w.repair()
					w.requireNothing(t)
				})
			}
			// After all that the same chain still serves, and forgets.
			w.upAndDown(t, u)
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				for kind, open := range openFiles(t) {
					assert.LessOrEqual(c, open, files[kind], "open files of kind %s", kind)
				}
			}, 20*time.Second, 10*time.Millisecond)
		})
	}
}

// upAndDown makes a connection, refreshes it and closes it.
func (w *world) upAndDown(t *testing.T, u *way) {
	t.Helper()
	conn, err := w.forwarder.Request(t.Context(), newRequest(w, u))
	require.NoError(t, err)
	w.requireConnected(t, u)
	refresh := refreshOf(w, u, conn)
	joined := maps.Clone(w.plane.joined)
	_, err = w.forwarder.Request(t.Context(), refresh.Clone())
	require.NoError(t, err)
	w.requireConnected(t, u)
	require.Equal(t, joined, w.plane.joined, "a refresh joins the same ports")
	_, err = w.forwarder.Close(t.Context(), refresh.GetConnection())
	require.NoError(t, err)
	w.requireNothing(t)
}

// refreshOf is the request again as the hop before us sends it.
func refreshOf(w *world, u *way, conn *networkservice.Connection) *networkservice.NetworkServiceRequest {
	request := newRequest(w, u)
	request.Connection = conn.Clone()
	request.Connection.Path.Index = 0
	request.Connection.Id = conn.GetPath().GetPathSegments()[0].GetId()
	return request
}

// A refresh that fails leaves the connection as it was: its packets go on.
func TestARefreshThatFailsDisturbsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making interfaces in network namespaces needs root")
	}
	for i := range ways {
		u := &ways[i]
		t.Run(u.name, func(t *testing.T) {
			w := newWorld(t, u)
			conn, err := w.forwarder.Request(t.Context(), newRequest(w, u))
			require.NoError(t, err)
			joined := maps.Clone(w.plane.joined)
			refresh := refreshOf(w, u, conn)

			w.hop.change = func(*networkservice.Connection) error { return errors.New("try later") }
			_, err = w.forwarder.Request(t.Context(), refresh.Clone())
			require.ErrorContains(t, err, "try later")
			w.repair()
			require.Equal(t, joined, w.plane.joined)
			w.requireConnected(t, u)

			_, err = w.forwarder.Close(t.Context(), refresh.GetConnection())
			require.NoError(t, err)
			w.requireNothing(t)
		})
	}
}

// openFiles counts what this process has open, by what it is.
func openFiles(t *testing.T) map[string]int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	open := map[string]int{}
	for _, f := range files {
		if target, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil {
			kind, _, _ := strings.Cut(target, ":")
			open[kind]++
		}
	}
	return open
}

func newPod(t *testing.T) string {
	t.Helper()
	path, remove, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, remove()) })
	return path
}
