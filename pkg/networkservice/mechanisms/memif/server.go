// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type server struct {
	folder string
}

// NewServer serves clients that want a memif. Sockets for clients that give no
// network namespace are files in folder, which must be there; if it is empty,
// such clients are refused.
func NewServer(folder string) networkservice.NetworkServiceServer {
	return &server{folder: folder}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := memifmech.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	p, err := listenPort(mechanism, request.GetConnection().GetId(), s.folder)
	if err != nil {
		return nil, err
	}
	answer(mechanism, p)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	port.Store(ctx, metadata.IsClient(s), p)
	return conn, nil
}

// answer tells the client where we listen. The descriptor of a socket file goes
// along when the plane has made the file.
func answer(mechanism *memifmech.Mechanism, p plane.Memif) {
	if p.NetNS != "" {
		mechanism.SetSocketFilename(p.Socket)
		return
	}
	delete(mechanism.GetParameters(), memifmech.SocketFilename)
	mechanism.SetSocketFileURL((&url.URL{Scheme: memifmech.FileScheme, Path: p.Socket}).String())
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(s))
	return next.Server(ctx).Close(ctx, conn)
}
