// SPDX-License-Identifier: Apache-2.0

package requester

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"golang.org/x/sync/errgroup"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// Kind is a way from the requester's node to an endpoint.
type Kind struct {
	Name    string
	Payload string
	// Remote: the endpoints are on the other node.
	Remote bool
}

// Kinds of connections between interfaces of pods.
var Kinds = []Kind{
	{"local", "ETHERNET", false},
	{"VXLAN", "ETHERNET", true},
	{"WireGuard", "IP", true},
}

// Limits of a Fleet: connections of a client pod, endpoints of each kind.
const (
	perPod       = 10
	endpointsPer = 4
)

// Fleet is many connections that stand at the same time, of all Kinds in turn:
// from pods with ten interfaces each, to four endpoints of each kind.
type Fleet struct {
	*Requester
	// Standing are the connections, in the order in which they were made.
	Standing []Standing
	// Endpoints by kind.
	Endpoints [][]*lab.Endpoint

	pods []*Pod
}

// Standing is one connection of a Fleet.
type Standing struct {
	*networkservice.Connection
	Kind     Kind
	Pod      *Pod
	Endpoint *lab.Endpoint
	// Took is how long the request took.
	Took time.Duration
}

// NewFleet starts the endpoints on a lab that runs.
func NewFleet(ctx context.Context, l *lab.Lab) (*Fleet, error) {
	r, err := New(l.Nodes[0], "fleet", l.MaxTokenLifetime)
	if err != nil {
		return nil, err
	}
	f := &Fleet{Requester: r, Endpoints: make([][]*lab.Endpoint, len(Kinds))}
	for k, kind := range Kinds {
		node := l.Nodes[0]
		if kind.Remote {
			node = l.Nodes[1]
		}
		for e := range endpointsPer {
			nse, err := node.StartEndpoint(ctx, fmt.Sprintf("fleet-nse-%d-%d", k, e), lab.Service{
				Name: serviceName(k, e), Payload: kind.Payload, CIDR: fmt.Sprintf("172.%d.%d.0/22", 17+k, 4*e),
			}, nil)
			if err != nil {
				_ = r.Close()
				return nil, err
			}
			f.Endpoints[k] = append(f.Endpoints[k], nse)
		}
	}
	return f, nil
}

func serviceName(kind, endpoint int) string { return fmt.Sprintf("fleet-%d-%d", kind, endpoint) }

// Grow makes connections until there are count, atOnce of them at the same time.
func (f *Fleet) Grow(ctx context.Context, count, atOnce int) error {
	for len(f.pods)*perPod < count {
		pod, err := f.Pod(fmt.Sprintf("fleet-%d", len(f.pods)))
		if err != nil {
			return err
		}
		f.pods = append(f.pods, pod)
	}
	first := len(f.Standing)
	made := make([]Standing, max(count, first)-first)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for n := range made {
		group.Go(func() (err error) {
			made[n], err = f.make(ctx, first+n)
			return err
		})
	}
	err := group.Wait()
	f.Standing = append(f.Standing, slices.DeleteFunc(made, func(s Standing) bool { return s.Connection == nil })...)
	return err
}

// make makes the connection of that number.
func (f *Fleet) make(ctx context.Context, number int) (Standing, error) {
	pod, k := f.pods[number/perPod], number%len(Kinds)
	e := number / len(Kinds) % endpointsPer
	conn, took, err := f.Request(ctx, pod.Kernel(fmt.Sprintf("fleet-%d", number), serviceName(k, e), fmt.Sprintf("nsm-%d", number)))
	if err != nil {
		return Standing{}, err
	}
	return Standing{Connection: conn, Kind: Kinds[k], Pod: pod, Endpoint: f.Endpoints[k][e], Took: took}, nil
}

// Shrink closes the youngest connections until count are left, atOnce of them at
// the same time.
func (f *Fleet) Shrink(ctx context.Context, count, atOnce int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, s := range f.Standing[count:] {
		group.Go(func() error {
			_, err := f.Release(ctx, s.Connection)
			return err
		})
	}
	f.Standing = f.Standing[:count]
	return group.Wait()
}

// Pods are those of the clients and of the endpoints.
func (f *Fleet) Pods() []*lab.Namespace {
	var all []*lab.Namespace
	for _, p := range f.pods {
		all = append(all, p.Namespace)
	}
	for _, endpoints := range f.Endpoints {
		for _, e := range endpoints {
			all = append(all, e.Pod)
		}
	}
	return all
}
