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

// What was resumed is taken over by a Join of the same, and replaced by one of
// another; Release parts it only while nobody has asked for it.
func TestResumeAndRelease(t *testing.T) {
	c := &plane.Connection{ID: "c1", Endpoint: plane.VXLAN{VNI: 1}}
	other := &plane.Connection{ID: "c1", Endpoint: plane.VXLAN{VNI: 2}}
	noFailure := func(*fake, *plane.Connection) error { return nil }
	failure := errors.New("no device")
	for name, tc := range map[string]struct {
		do    func(t *testing.T, s *Set[*fake])
		fail  error
		calls []string
		left  int
	}{
		"resumed":             {func(*testing.T, *Set[*fake]) {}, nil, nil, 1},
		"in vain":             {func(*testing.T, *Set[*fake]) {}, failure, []string{"release"}, 0},
		"asked for":           {func(t *testing.T, s *Set[*fake]) { joinAll(t, s, c, c); require.NoError(t, s.Release("c1")) }, nil, []string{"settle"}, 1},
		"replaced":            {func(t *testing.T, s *Set[*fake]) { joinAll(t, s, other); require.NoError(t, s.Release("c1")) }, nil, []string{"change"}, 1},
		"released":            {func(t *testing.T, s *Set[*fake]) { require.NoError(t, s.Release("c1")) }, nil, []string{"release"}, 0},
		"left":                {func(t *testing.T, s *Set[*fake]) { require.NoError(t, s.Leave("c1", false)) }, nil, []string{"remove"}, 0},
		"another's, released": {func(t *testing.T, s *Set[*fake]) { require.NoError(t, s.Release("c2")) }, nil, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{joining: func(_, _ *plane.Connection) error { return nil }}
			s := newFakes(f)
			err := s.Resume(c,
				func(*fake, *plane.Connection) error { return tc.fail },
				func(_ context.Context, f *fake) error { f.calls = append(f.calls, "settle"); return nil })
			require.ErrorIs(t, err, tc.fail)
			tc.do(t, s)
			require.Equal(t, tc.calls, f.calls)
			require.Len(t, s.All(), tc.left)
			require.NoError(t, s.Leave("c1", false))
		})
	}
	t.Run("somebody has asked already", func(t *testing.T) {
		f := &fake{joining: func(_, _ *plane.Connection) error { return nil }}
		s := newFakes(f)
		joinAll(t, s, c)
		require.NoError(t, s.Resume(c, noFailure, nil))
		require.Equal(t, []string{"join"}, f.calls)
	})
}

func joinAll(t *testing.T, s *Set[*fake], all ...*plane.Connection) {
	t.Helper()
	for _, c := range all {
		_, err := s.Join(t.Context(), c)
		require.NoError(t, err)
	}
}
