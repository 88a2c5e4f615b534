// SPDX-License-Identifier: Apache-2.0

package vni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

// maxTries limits the search for a free VNI; there are 2^23 for each peer.
const maxTries = 1 << 12

var errExhausted = errors.New("choose VNI: found none that is free")

type server struct {
	vniOpions
	tunnelIP net.IP

	mu    sync.Mutex
	owner map[tunnel]string // connection id
}

// tunnel is what a VNI is unique for: the peer's address.
type tunnel struct {
	peer string
	vni  uint32
}

type tunnelKey struct{}

// NewServer returns a server that fills in the destination of a VXLAN mechanism
// and chooses the VNI: random, of the parity that the two addresses order,
// used by no other connection with this peer. A connection keeps its VNI until
// it closes; one that comes with a VNI (this process was started again) keeps
// that too, unless it is taken. It needs a metadata server before it.
func NewServer(tunnelIP net.IP, options ...Option) networkservice.NetworkServiceServer {
	return &server{tunnelIP: tunnelIP, vniOpions: apply(options), owner: make(map[tunnel]string)}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := vxlan.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	mechanism.SetDstIP(s.tunnelIP)
	mechanism.SetDstPort(s.tunnelPort)

	store := metadata.Map(ctx, false)
	before, _ := store.Load(tunnelKey{})
	held, isHeld := before.(tunnel)
	if isHeld && held.peer == mechanism.SrcIP().String() {
		mechanism.SetVNI(held.vni)
		return next.Server(ctx).Request(ctx, request)
	}

	chosen, err := s.choose(mechanism, request.GetConnection().GetId())
	if err != nil {
		return nil, err
	}
	mechanism.SetVNI(chosen.vni)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		s.free(chosen)
		return nil, err
	}
	if isHeld {
		s.free(held)
	}
	store.Store(tunnelKey{}, chosen)
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if held, ok := metadata.Map(ctx, false).LoadAndDelete(tunnelKey{}); ok {
		defer s.free(held.(tunnel))
	}
	return next.Server(ctx).Close(ctx, conn)
}

// choose takes the VNI that mechanism has, if it may, or else a random one.
func (s *server) choose(mechanism *vxlan.Mechanism, id string) (tunnel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := tunnel{peer: mechanism.SrcIP().String(), vni: mechanism.VNI()}
	for range maxTries {
		if owner, taken := s.owner[t]; t.vni != 0 && (!taken || owner == id) {
			s.owner[t] = id
			return t, nil
		}
		var err error
		if t.vni, err = mechanism.GenerateRandomVNI(); err != nil {
			return t, fmt.Errorf("choose VNI: %w", err)
		}
	}
	return t, errExhausted
}

func (s *server) free(t tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owner, t)
}
