// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nsm-afxdp/forwarder/internal/usecase"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Linked is a use case that runs in a lab, its client on the first node.
type Linked struct {
	usecase.Case
	Client   *Client
	Endpoint *Endpoint
	// Host is what the client reaches on a VLAN, or nil.
	Host *VLANHost

	bin string
}

// Link starts the endpoint of a use case, and then the client, without waiting
// for its connection. env is added to the client's environment. A use case on a
// VLAN needs a lab with Config.Switch.
func (l *Lab) Link(ctx context.Context, c *usecase.Case, env map[string]string) (*Linked, error) {
	k := &Linked{Case: *c, bin: l.Bin}
	var err error
	if c.VLAN != 0 {
		err = k.startVLAN(ctx, l)
	} else {
		err = k.startEndpoint(ctx, l)
	}
	if err != nil {
		return nil, fmt.Errorf("start the endpoint of %s: %w", c.Name, err)
	}
	if k.Client, err = l.Nodes[0].StartClient("nsc-"+c.Service, c.Request(), env); err != nil {
		return nil, fmt.Errorf("start the client of %s: %w", c.Name, err)
	}
	return k, nil
}

func (k *Linked) startEndpoint(ctx context.Context, l *Lab) (err error) {
	node := l.Nodes[1]
	if k.Local() {
		node = l.Nodes[0]
	}
	k.Endpoint, err = node.StartEndpoint(ctx, "nse-"+k.Service,
		Service{Name: k.Service, Payload: string(k.Payload), CIDR: k.CIDR.String()},
		map[string]string{"NSM_MECHANISM": strings.ToLower(string(k.Case.Endpoint))})
	return err
}

// AwaitUp returns when the client is connected and, where memif is involved, an
// echo request has been answered: the programs on the two sides of a memif find
// each other on their own, a moment after the mesh has told them where.
func (k *Linked) AwaitUp(ctx context.Context) error {
	if err := k.Client.AwaitConnected(ctx); err != nil || !k.Memif() {
		return err
	}
	way := k.Ways()[0]
	for {
		out, err := way.Ping(ctx, "-q", "-c", "1", "-W", "1")
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: no answer after the client was connected: %w\n%s", k.Name, err, out)
		}
	}
}

// Way is one direction of a use case.
type Way struct {
	// Name is "client to endpoint" or the opposite.
	Name string
	From *Namespace
	// Memif says that the pod's own stack sends, not Linux.
	Memif bool
	To    netip.Addr

	program string // that answers for a pod with memif
}

// Ways are the directions, that from the client first.
func (k *Linked) Ways() [2]Way {
	ways := [2]Way{
		{
			Name: "client to endpoint", From: k.Client.Pod, To: k.EndpointAddr(),
			Memif: k.Case.Client == plane.KindMemif, program: filepath.Join(k.bin, "nsc"),
		},
		{Name: "endpoint to client", To: k.ClientAddr()},
	}
	if k.Host != nil {
		ways[1].From = k.Host.Namespace
		return ways
	}
	ways[1].From = k.Endpoint.Pod
	ways[1].Memif = k.Case.Endpoint == plane.KindMemif
	ways[1].program = filepath.Join(k.bin, "nse")
	return ways
}

// Command is a ping that one can type.
func (w *Way) Command() string {
	ping := "ping"
	if w.Memif {
		ping = w.program + " ping"
	}
	return fmt.Sprintf("ip netns exec %s %s %s", w.From.Name, ping, w.To)
}

// Ping sends echo requests with options of ping(8), and returns what was
// printed.
func (w *Way) Ping(ctx context.Context, options ...string) (string, error) {
	if w.Memif {
		return Run(ctx, w.From.Path, w.program, slices.Concat([]string{"ping"}, options, []string{w.To.String()})...)
	}
	return Run(ctx, w.From.Path, "ping", slices.Concat([]string{"-n"}, options, []string{w.To.String()})...)
}

// Burst is options of Ping that send count echo requests of a size at once and
// wait for the last answer for some seconds. Spread over time, ping(8) would wait
// for it only as long as the others took, and call it lost on a busy machine.
func Burst(count, size int) []string {
	return []string{"-q", "-c", fmt.Sprint(count), "-l", fmt.Sprint(count), "-i", "3", "-W", "6", "-s", fmt.Sprint(size)}
}

// PingLossless sends a burst, with more options of ping(8), and returns an error
// if an answer is missing.
func (w *Way) PingLossless(ctx context.Context, count, size int, more ...string) (string, error) {
	out, err := w.Ping(ctx, append(Burst(count, size), more...)...)
	if err == nil && !strings.Contains(out, " 0% packet loss") {
		err = fmt.Errorf("ping %s, %s: answers are missing:\n%s", w.To, w.Name, out)
	}
	return out, err
}

// Calm is environment for clients that measure: they ping their endpoints only
// when told to.
func Calm() map[string]string {
	return map[string]string{"NSM_LIVENESS_CHECK_ENABLED": "false"}
}
