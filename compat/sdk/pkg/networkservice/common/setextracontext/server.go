// SPDX-License-Identifier: Apache-2.0

// Package setextracontext adds fixed values to the extra context.
package setextracontext

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type setExtraContext map[string]string

// NewServer returns the element that adds values.
func NewServer(values map[string]string) networkservice.NetworkServiceServer {
	return setExtraContext(values)
}

func (s setExtraContext) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if conn.GetContext() == nil {
		conn.Context = new(networkservice.ConnectionContext)
	}
	if conn.GetContext().GetExtraContext() == nil {
		conn.Context.ExtraContext = make(map[string]string, len(s))
	}
	for key, value := range s {
		conn.Context.ExtraContext[key] = value
	}
	return next.Server(ctx).Request(ctx, request)
}

func (s setExtraContext) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
