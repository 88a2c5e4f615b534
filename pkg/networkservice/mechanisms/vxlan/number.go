// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"context"
	"errors"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// maxNumbers is how many VNIs are tried. They are random, and a node that has
// 1,000 of the 2^23 will need a second one once in 8,000 times.
const maxNumbers = 8

// errNumberTaken says that the plane has no room for a VNI.
var errNumberTaken = errors.New("vxlan mechanism: every VNI that was tried belongs to another connection of this node")

// number has the VNI chosen with the plane in mind. The SDK's element, which
// comes next, chooses one at random among those that no other connection with
// the peer has, and keeps one that the mechanism has already.
type number struct {
	devices plane.Devices
}

func (s *number) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := vxlanmech.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	if mechanism.VNI() == 0 {
		// A device of an earlier run goes on under its number.
		left, ok := s.devices.Left(request.GetConnection().GetId()).(plane.VXLAN)
		if ok && left.Remote.String() == mechanism.SrcIP().String() {
			mechanism.SetVNI(left.VNI)
		}
	}
	var conn *networkservice.Connection
	err := errNumberTaken
	for try := 0; try < maxNumbers && errors.Is(err, errNumberTaken); try++ {
		attempt := request.Clone()
		if try > 0 {
			vxlanmech.ToMechanism(attempt.GetConnection().GetMechanism()).SetVNI(0)
		}
		conn, err = next.Server(ctx).Request(ctx, attempt)
	}
	return conn, err
}

func (s *number) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
