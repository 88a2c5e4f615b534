// SPDX-License-Identifier: Apache-2.0

package begin_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

type nse = registry.NetworkServiceEndpoint

// probe is an element after begin.
type probe struct {
	either.PassNSEServer
	running, most  atomic.Int32
	hold           chan struct{} // closed to let calls go on
	fail           atomic.Bool
	mu             sync.Mutex
	registered     []string // urls, in the order of the calls
	unregistered   []string
	factory        begin.EventFactory
	name           string // given to what has none
	hasTime        bool
	valueOfContext any
}

type contextKey struct{}

func (p *probe) Register(ctx context.Context, in *nse) (*nse, error) {
	p.most.Store(max(p.most.Load(), p.running.Add(1)))
	defer p.running.Add(-1)
	p.mu.Lock()
	p.registered = append(p.registered, in.GetUrl())
	p.factory = begin.FromContext(ctx)
	_, p.hasTime = ctx.Deadline()
	p.valueOfContext = ctx.Value(contextKey{})
	p.mu.Unlock()
	if p.hold != nil {
		<-p.hold
	}
	if p.fail.Load() {
		return nil, errors.New("refused")
	}
	in.Url = "changed by an element"
	if in.GetName() == "" {
		in.Name = p.name
	}
	return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, in)
}

func (p *probe) Unregister(ctx context.Context, in *nse) (*emptypb.Empty, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unregistered = append(p.unregistered, in.GetUrl())
	return new(emptypb.Empty), nil
}

func (p *probe) calls() (registered, unregistered []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.registered...), append([]string(nil), p.unregistered...)
}

func newServer(p *probe) registry.NetworkServiceEndpointRegistryServer {
	return next.NewNetworkServiceEndpointRegistryServer(begin.NewNetworkServiceEndpointRegistryServer(), p)
}

func TestOneCallAtATimeForEachName(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := &probe{hold: make(chan struct{})}
	server := newServer(p)
	var wg sync.WaitGroup
	for range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := server.Register(context.Background(), &nse{Name: "nse"})
			if err != nil {
				t.Error(err)
			}
		}()
	}
	require.Eventually(t, func() bool { return p.running.Load() == 1 }, time.Second, time.Millisecond)

	// A caller that does not want to wait any longer is let go.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := server.Register(ctx, &nse{Name: "nse"})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	close(p.hold)
	wg.Wait()
	require.EqualValues(t, 1, p.most.Load())
}

func TestNamesDoNotWaitForEachOther(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := &probe{hold: make(chan struct{}), name: "given"}
	server := newServer(p)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "", ""} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, _ = server.Register(context.Background(), &nse{Name: name})
		}()
	}
	require.Eventually(t, func() bool { return p.running.Load() == 4 }, time.Second, time.Millisecond)
	close(p.hold)
	wg.Wait()
}

func TestEvents(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := new(probe)
	server := newServer(p)
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), contextKey{}, "value"), time.Minute)
	_, err := server.Register(ctx, &nse{Name: "nse", Url: "one"})
	require.NoError(t, err)
	cancel()

	for range 3 {
		require.NoError(t, <-p.factory.Register())
	}
	registered, _ := p.calls()
	require.Equal(t, []string{"one", "one", "one", "one"}, registered, "what elements changed is not carried over")
	require.True(t, p.hasTime, "an event has the time limit of the call")
	require.Equal(t, "value", p.valueOfContext, "and its values")

	p.fail.Store(true)
	require.EqualError(t, <-p.factory.Register(), "refused")
	p.fail.Store(false)

	done, stop := context.WithCancel(context.Background())
	stop()
	require.NoError(t, <-p.factory.Register(begin.CancelContext(done)))
	registered, _ = p.calls()
	require.Len(t, registered, 5, "a cancelled event does nothing")

	require.NoError(t, <-p.factory.Unregister())
	require.NoError(t, <-p.factory.Unregister())
	require.NoError(t, <-p.factory.Register())
	registered, unregistered := p.calls()
	require.Len(t, registered, 5, "what is not registered any more is left alone")
	require.Equal(t, []string{"one"}, unregistered)
}

func TestUnregisterIsAboutWhatWasRegistered(t *testing.T) {
	p := &probe{name: "given"}
	server := newServer(p)
	out, err := server.Register(context.Background(), &nse{Url: "one"})
	require.NoError(t, err)
	require.Equal(t, "given", out.GetName())

	_, err = server.Unregister(context.Background(), &nse{Name: "given", Url: "other"})
	require.NoError(t, err)
	_, err = server.Unregister(context.Background(), &nse{Name: "unknown", Url: "other"})
	require.NoError(t, err)
	_, unregistered := p.calls()
	require.Equal(t, []string{"one", "other"}, unregistered, "what is not known is passed on")
}

func TestASecondBeginLeavesEventsToTheFirst(t *testing.T) {
	outer, inner := new(probe), new(probe)
	server := next.NewNetworkServiceEndpointRegistryServer(
		begin.NewNetworkServiceEndpointRegistryServer(), outer, begin.NewNetworkServiceEndpointRegistryServer(), inner)
	_, err := server.Register(context.Background(), &nse{Name: "nse"})
	require.NoError(t, err)
	require.NoError(t, <-inner.factory.Register())
	registered, _ := outer.calls()
	require.Len(t, registered, 2)
	require.PanicsWithValue(t, "registry begin: the chain has no begin element before this one", func() { begin.FromContext(context.Background()) })
}
