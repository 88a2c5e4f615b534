// SPDX-License-Identifier: Apache-2.0

package updatepath_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

func connection(id string, index uint32, segments ...string) *networkservice.Connection {
	conn := &networkservice.Connection{Id: id, Path: &networkservice.Path{Index: index}}
	for i := 0; i < len(segments); i += 2 {
		conn.Path.PathSegments = append(conn.Path.PathSegments, &networkservice.PathSegment{Name: segments[i], Id: segments[i+1]})
	}
	return conn
}

const anyID = "*"

func TestPathsAndIDs(t *testing.T) {
	for _, test := range []struct {
		name string
		in   *networkservice.Connection
		// what the next element sees, and what the caller gets
		inside, reply *networkservice.Connection
	}{
		{
			"an empty path starts with us and keeps the id",
			&networkservice.Connection{Id: "a"}, connection("a", 0, "hop", "a"), connection("a", 0, "hop", "a"),
		}, {
			"without an id there is a fresh one",
			&networkservice.Connection{}, connection(anyID, 0, "hop", anyID), connection(anyID, 0, "hop", anyID),
		}, {
			"our own segment is not entered twice, and its id counts",
			connection("whatever", 1, "nsc", "a", "hop", "b"), connection("b", 1, "nsc", "a", "hop", "b"), connection("b", 1, "nsc", "a", "hop", "b"),
		}, {
			"a path that ends before us is continued",
			connection("a", 0, "nsc", "a"), connection(anyID, 1, "nsc", "a", "hop", anyID), connection("a", 0, "nsc", "a", "hop", anyID),
		}, {
			"our segment from last time is kept",
			connection("a", 0, "nsc", "a", "hop", "b", "nse", "c"), connection("b", 1, "nsc", "a", "hop", "b", "nse", "c"), connection("a", 0, "nsc", "a", "hop", "b", "nse", "c"),
		}, {
			"the segment of a hop that we replace is ours under a fresh id",
			connection("a", 0, "nsc", "a", "old", "b", "nse", "c"), connection(anyID, 1, "nsc", "a", "hop", anyID, "nse", "c"), connection("a", 0, "nsc", "a", "hop", anyID, "nse", "c"),
		},
	} {
		for half, call := range map[string]func(last *recorder.Recorder, conn *networkservice.Connection) (*networkservice.Connection, error){
			"server": func(last *recorder.Recorder, conn *networkservice.Connection) (*networkservice.Connection, error) {
				server := &recorder.Server{}
				defer func() { last.OnRequest(t.Context(), server.Requests()[0]) }()
				return next.NewNetworkServiceServer(updatepath.NewServer("hop"), server).
					Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
			},
			"client": func(last *recorder.Recorder, conn *networkservice.Connection) (*networkservice.Connection, error) {
				client := &recorder.Client{}
				defer func() { last.OnRequest(t.Context(), client.Requests()[0]) }()
				return next.NewNetworkServiceClient(updatepath.NewClient("hop"), client).
					Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
			},
		} {
			t.Run(test.name+"/"+half, func(t *testing.T) {
				var seen *networkservice.Connection
				last := &recorder.Recorder{OnRequest: func(_ context.Context, request *networkservice.NetworkServiceRequest) error {
					seen = request.GetConnection()
					return nil
				}}
				reply, err := call(last, test.in.Clone())
				require.NoError(t, err)
				requireSame(t, test.inside, seen)
				requireSame(t, test.reply, reply)
				require.Equal(t, seen.GetId(), seen.GetCurrentPathSegment().GetId())
				require.NotContains(t, []string{"", "old"}, seen.GetId())
			})
		}
	}
}

// requireSame compares ids, names and index; anyID stands for a fresh id.
func requireSame(t *testing.T, want, got *networkservice.Connection) {
	t.Helper()
	same := func(want, got string) {
		if want == anyID {
			require.Len(t, got, 36)
			return
		}
		require.Equal(t, want, got)
	}
	same(want.GetId(), got.GetId())
	require.Equal(t, want.GetPath().GetIndex(), got.GetPath().GetIndex())
	require.Len(t, got.GetPath().GetPathSegments(), len(want.GetPath().GetPathSegments()))
	for i, segment := range want.GetPath().GetPathSegments() {
		require.Equal(t, segment.GetName(), got.GetPath().GetPathSegments()[i].GetName())
		same(segment.GetId(), got.GetPath().GetPathSegments()[i].GetId())
	}
}

func TestBadPaths(t *testing.T) {
	for name, conn := range map[string]*networkservice.Connection{
		"index past the end":                       connection("a", 1, "nsc", "a"),
		"id is not that of the caller's segment":   connection("x", 0, "nsc", "a"),
		"id of another segment than the caller's ": connection("b", 0, "nsc", "a", "hop", "b"),
	} {
		t.Run(name, func(t *testing.T) {
			server := updatepath.NewServer("hop")
			_, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
			require.Error(t, err)
			_, err = server.Close(t.Context(), conn.Clone())
			require.Error(t, err)
			_, err = updatepath.NewClient("hop").Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
			require.Error(t, err)
		})
	}
}

func TestAFailedRequestLeavesTheCallersView(t *testing.T) {
	failing := &recorder.Server{Recorder: recorder.Recorder{OnRequest: func(context.Context, *networkservice.NetworkServiceRequest) error {
		return errors.New("no")
	}}}
	request := &networkservice.NetworkServiceRequest{Connection: connection("a", 0, "nsc", "a")}
	_, err := next.NewNetworkServiceServer(updatepath.NewServer("hop"), failing).Request(t.Context(), request)
	require.Error(t, err)
	require.Equal(t, "a", request.GetConnection().GetId())
	require.Zero(t, request.GetConnection().GetPath().GetIndex())
}

func TestBothHalvesOfAHopShareASegment(t *testing.T) {
	last := &recorder.Client{}
	client := next.NewNetworkServiceClient(updatepath.NewClient("hop"), last)
	inner := &recorder.Server{Recorder: recorder.Recorder{OnRequest: func(ctx context.Context, request *networkservice.NetworkServiceRequest) error {
		_, err := client.Request(ctx, request.Clone())
		return err
	}}}
	_, err := next.NewNetworkServiceServer(updatepath.NewServer("hop"), inner).
		Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: connection("a", 0, "nsc", "a")})
	require.NoError(t, err)
	require.Equal(t, inner.Requests()[0].String(), last.Requests()[0].String())
}
