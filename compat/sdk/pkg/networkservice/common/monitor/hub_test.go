// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

func through(id string, segments ...string) *networkservice.Connection {
	conn := &networkservice.Connection{Id: id, Path: &networkservice.Path{}}
	for _, s := range segments {
		conn.Path.PathSegments = append(conn.Path.PathSegments, &networkservice.PathSegment{Id: s})
	}
	return conn
}

func by(segments ...string) *networkservice.MonitorScopeSelector {
	return &networkservice.MonitorScopeSelector{PathSegments: through("", segments...).GetPath().GetPathSegments()}
}

func TestEventsGoToThoseWhomTheyConcern(t *testing.T) {
	h := newHub(t.Context())
	subscribers := map[string]*subscriber{}
	for name, selector := range map[string]*networkservice.MonitorScopeSelector{
		"all": nil, "of the client": by("nsc-1"), "of the client, at the second hop": by("nsc-1", ""), "of another client": by("nsc-2"),
		"of a later hop": by("", "nse-1"),
	} {
		subscribers[name] = &subscriber{selector: selector, wake: make(chan struct{}, 1)}
		h.subscribers.add(selectedSegment(selector), subscribers[name])
	}
	told := func(conn *networkservice.Connection) (names []string) {
		h.send(update(conn))
		for name, s := range subscribers {
			if len(s.pending) > 0 {
				names = append(names, name)
			}
			s.pending = nil
		}
		return names
	}
	require.ElementsMatch(t, []string{"all", "of the client", "of the client, at the second hop", "of a later hop"}, told(through("a", "nsc-1", "a", "nse-1")))
	require.ElementsMatch(t, []string{"all", "of another client"}, told(through("b", "nsc-2", "b")))
	require.ElementsMatch(t, []string{"all"}, told(through("c")))
}

func TestNewSubscribersLearnWhatPathsAreByThen(t *testing.T) {
	h := newHub(t.Context())
	known := func(selector *networkservice.MonitorScopeSelector) int {
		return len(h.known(selector, selectedSegment(selector)))
	}
	h.send(update(through("a", "nsc-1", "a", "nse-1")))
	h.send(update(through("b", "nsc-1", "b", "nse-2")))
	require.Equal(t, []int{2, 2, 1}, []int{known(nil), known(by("nsc-1")), known(by("", "nse-1"))})
	h.send(update(through("a", "nsc-1", "a", "nse-2"))) // it moves
	require.Equal(t, []int{2, 0, 2}, []int{known(by("nsc-1")), known(by("nse-1")), known(by("nse-2"))})
	for _, id := range []string{"a", "b"} {
		h.send(&networkservice.ConnectionEvent{
			Type: networkservice.ConnectionEventType_DELETE, Connections: map[string]*networkservice.Connection{id: {Id: id}},
		})
	}
	require.Zero(t, known(nil))
	require.Empty(t, h.passing)
}
