// SPDX-License-Identifier: Apache-2.0

package links

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// fake is a link that notes what is done to it.
type fake struct {
	calls   []string
	joining func(old, c *plane.Connection) error
	leaving error
}

func (f *fake) Join(_ context.Context, old, c *plane.Connection) error {
	word := "join"
	if old != nil {
		word = "change"
	}
	f.calls = append(f.calls, word)
	return f.joining(old, c)
}

func (f *fake) TearDown(keep bool) error {
	word := "remove"
	if keep {
		word = "release"
	}
	f.calls = append(f.calls, word)
	return f.leaving
}

func (*fake) Report(c *plane.Connection) plane.Link { return plane.Link{ID: c.ID, MTU: c.MTU} }

// newFakes is a set of links that all are f.
func newFakes(f *fake) *Set[*fake] {
	return New(func() *fake { return f }, func(c *plane.Connection) (int, error) {
		if c.MTU == 1 {
			return 0, errors.New("MTU 1 is too small")
		}
		return max(c.MTU, 1000), nil
	})
}

func TestJoinChangeLeave(t *testing.T) {
	f := &fake{joining: func(_, _ *plane.Connection) error { return nil }}
	s := newFakes(f)
	join := func(mtu, want int) {
		t.Helper()
		l, err := s.Join(t.Context(), &plane.Connection{ID: "c1", MTU: mtu})
		require.NoError(t, err)
		require.Equal(t, plane.Link{ID: "c1", MTU: want}, l)
		require.Equal(t, []plane.Link{l}, s.All())
	}
	join(0, 1000)
	join(1000, 1000) // the same
	join(1400, 1400)
	require.NoError(t, s.Leave("c1", false))
	require.NoError(t, s.Leave("c1", false), "what is not there is left")
	require.Equal(t, []string{"join", "change", "remove"}, f.calls)
	require.Empty(t, s.All())
	require.Empty(t, s.all)
}

func TestWhatFailsLeavesNothing(t *testing.T) {
	errJoin, errLeave := errors.New("no memory"), errors.New("busy")
	f := &fake{joining: func(_, _ *plane.Connection) error { return errJoin }, leaving: errLeave}
	s := newFakes(f)
	_, err := s.Join(t.Context(), &plane.Connection{ID: "c1"})
	require.ErrorIs(t, err, errJoin)
	require.ErrorIs(t, err, errLeave)
	require.True(t, strings.HasPrefix(err.Error(), "join connection c1: "), err)
	require.Empty(t, s.all)

	// Also what was joined before.
	f.joining = func(old, _ *plane.Connection) error {
		if old != nil {
			return errJoin
		}
		return nil
	}
	f.leaving = nil
	for _, mtu := range []int{1400, 1} {
		f.calls = nil
		_, err = s.Join(t.Context(), &plane.Connection{ID: "c1"})
		require.NoError(t, err)
		_, err = s.Join(t.Context(), &plane.Connection{ID: "c1", MTU: mtu})
		require.Error(t, err)
		require.Equal(t, "remove", f.calls[len(f.calls)-1])
		require.Empty(t, s.all)
	}
}

// While a connection is joined, others can be, and the status tells of those that
// are. What else is asked of the same one waits.
func TestConnectionsChangeByThemselves(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	slow := &fake{joining: func(_, _ *plane.Connection) error {
		close(begun)
		<-goOn
		return nil
	}}
	quick := &fake{joining: func(_, _ *plane.Connection) error { return nil }}
	links := []*fake{slow, quick}
	s := newFakes(nil)
	s.empty = func() *fake {
		next := links[0]
		links = links[1:]
		return next
	}
	var running sync.WaitGroup
	running.Go(func() {
		_, err := s.Join(t.Context(), &plane.Connection{ID: "slow"})
		require.NoError(t, err)
	})
	<-begun
	running.Go(func() { require.NoError(t, s.Leave("slow", false)) })
	joined, err := s.Join(t.Context(), &plane.Connection{ID: "quick"})
	require.NoError(t, err)
	require.Equal(t, []plane.Link{joined}, s.All())
	require.Equal(t, []string{"join"}, slow.calls)
	close(goOn)
	running.Wait()
	require.Equal(t, []string{"join", "remove"}, slow.calls)
	require.Equal(t, []plane.Link{joined}, s.All())
}

func TestClose(t *testing.T) {
	f := &fake{joining: func(_, _ *plane.Connection) error { return nil }}
	s := newFakes(f)
	_, err := s.Join(t.Context(), &plane.Connection{ID: "c1"})
	require.NoError(t, err)
	first, err := s.Close(true)
	require.True(t, first)
	require.NoError(t, err)
	require.Equal(t, []string{"join", "release"}, f.calls)
	first, err = s.Close(true)
	require.False(t, first)
	require.NoError(t, err)
	_, err = s.Join(t.Context(), &plane.Connection{ID: "c1"})
	require.ErrorIs(t, err, ErrClosed)
}
