// SPDX-License-Identifier: Apache-2.0

package requester

import (
	"context"
	"fmt"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

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
	Kind Kind
	Pod  *Pod
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

// Grow makes connections until there are count.
func (f *Fleet) Grow(ctx context.Context, count int) error {
	for i := len(f.Standing); i < count; i++ {
		if i/perPod == len(f.pods) {
			pod, err := f.Pod(fmt.Sprintf("fleet-%d", len(f.pods)))
			if err != nil {
				return err
			}
			f.pods = append(f.pods, pod)
		}
		pod, k := f.pods[i/perPod], i%len(Kinds)
		conn, took, err := f.Request(ctx, pod.Kernel(fmt.Sprintf("fleet-%d", i), serviceName(k, i/len(Kinds)%endpointsPer), fmt.Sprintf("nsm-%d", i)))
		if err != nil {
			return err
		}
		f.Standing = append(f.Standing, Standing{Connection: conn, Kind: Kinds[k], Pod: pod, Took: took})
	}
	return nil
}

// Shrink closes the youngest connections until count are left.
func (f *Fleet) Shrink(ctx context.Context, count int) error {
	for i := len(f.Standing) - 1; i >= count; i-- {
		if _, err := f.Release(ctx, f.Standing[i].Connection); err != nil {
			return err
		}
		f.Standing = f.Standing[:i]
	}
	return nil
}
