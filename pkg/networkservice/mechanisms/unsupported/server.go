// SPDX-License-Identifier: Apache-2.0

// Package unsupported tells clients why they do not get a mechanism that they
// insist on. The SDK's mechanisms element would only say that it has none.
package unsupported

import (
	"context"
	"errors"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ErrUnsupported is wrapped by the error that such a client gets.
var ErrUnsupported = errors.New("not supported by this forwarder")

type server struct {
	supported map[string]bool
	reasons   map[string]string
}

// NewServer passes requests that one of the supported mechanism types can
// serve. Others end here if there is a reason for one of the types that they
// ask for; the reason should say what to do.
func NewServer(supported []string, reasons map[string]string) networkservice.NetworkServiceServer {
	s := &server{supported: make(map[string]bool), reasons: reasons}
	for _, t := range supported {
		s.supported[t] = true
	}
	return s
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if err := s.check(request); err != nil {
		return nil, err
	}
	return next.Server(ctx).Request(ctx, request)
}

func (s *server) check(request *networkservice.NetworkServiceRequest) error {
	asked := request.GetMechanismPreferences()
	if m := request.GetConnection().GetMechanism(); m != nil {
		asked = []*networkservice.Mechanism{m}
	}
	var err error
	for _, m := range asked {
		if s.supported[m.GetType()] {
			return nil
		}
		if reason, ok := s.reasons[m.GetType()]; ok && err == nil {
			err = fmt.Errorf("mechanism %s: %w: %s", m.GetType(), ErrUnsupported, reason)
		}
	}
	return err
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
