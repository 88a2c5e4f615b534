// SPDX-License-Identifier: Apache-2.0

package trace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/trace/traceverbose"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/log/logruslogger"
)

// logged returns what a chain, the middle of which changes the request and may
// fail, writes at the level.
func logged(t *testing.T, ctx context.Context, level logrus.Level, tracing bool, fail error) string {
	var out bytes.Buffer
	logrus.SetOutput(&out)
	before := logrus.GetLevel()
	logrus.SetLevel(level)
	log.EnableTracing(tracing)
	t.Cleanup(func() {
		logrus.SetOutput(os.Stderr)
		logrus.SetLevel(before)
		log.EnableTracing(false)
	})
	middle := &recorder.Server{}
	middle.OnRequest = func(_ context.Context, r *networkservice.NetworkServiceRequest) error {
		r.Connection.NetworkServiceEndpointName = "chosen-here"
		return nil
	}
	last := &recorder.Server{}
	last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error {
		if fail != nil {
			return fmt.Errorf("last: %w", fail)
		}
		return nil
	}
	ctx = log.WithLog(ctx, logruslogger.New(ctx))
	server := chain.NewNetworkServiceServer(&recorder.Server{}, middle, last)
	_, err := server.Request(ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "the-id"}})
	require.ErrorIs(t, err, fail)
	return out.String()
}

func TestWhatIsLogged(t *testing.T) {
	no := errors.New("no such luck")
	asked := metadata.NewIncomingContext(t.Context(), metadata.Pairs("GrpcTracing", "1"))
	refused := metadata.NewIncomingContext(t.Context(), metadata.Pairs("GrpcTracing", "2"))
	for _, test := range []struct {
		name    string
		ctx     context.Context
		level   logrus.Level
		tracing bool
		fail    error
		counts  map[string]int
	}{
		{"nothing with tracing off", t.Context(), logrus.TraceLevel, false, no, map[string]int{"": 1}},
		{"at info nothing of a success", t.Context(), logrus.InfoLevel, true, nil, map[string]int{"": 1}},
		{"at info an error once", t.Context(), logrus.InfoLevel, true, no, map[string]int{"no such luck": 1, "the-id": 0}},
		{"at debug what a hop was asked and answered", t.Context(), logrus.DebugLevel, true, nil, map[string]int{"the-id": 2, "request=": 1, "response=": 1}},
		{"at trace what each element changed", t.Context(), logrus.TraceLevel, true, nil, map[string]int{"request=": 1, "request-diff=": 1, "chosen-here": 2}},
		{"at trace an error once", t.Context(), logrus.TraceLevel, true, no, map[string]int{"no such luck": 1}},
		{"a call may ask for it", asked, logrus.DebugLevel, false, nil, map[string]int{"the-id": 2}},
		{"or against it", refused, logrus.DebugLevel, true, nil, map[string]int{"": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := logged(t, test.ctx, test.level, test.tracing, test.fail)
			for text, count := range test.counts {
				if text == "" {
					require.Empty(t, out)
					continue
				}
				require.Equal(t, count, strings.Count(out, text), "%q in:\n%s", text, out)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	was := &networkservice.Connection{
		Id: "a", Labels: map[string]string{"k": "1"},
		Context: &networkservice.ConnectionContext{MTU: 1500, IpContext: &networkservice.IPContext{SrcIpAddrs: []string{"x"}}},
	}
	is := was.Clone()
	diff, differs := traceverbose.Diff(was.ProtoReflect(), is.ProtoReflect())
	require.False(t, differs)
	require.Empty(t, diff)

	is.Labels["k"] = "2"
	is.Context.IpContext.SrcIpAddrs = append(is.Context.IpContext.SrcIpAddrs, "y")
	is.Mechanism = &networkservice.Mechanism{Type: "KERNEL"}
	diff, differs = traceverbose.Diff(was.ProtoReflect(), is.ProtoReflect())
	require.True(t, differs)
	require.Equal(t, map[string]interface{}{
		"labels":    "map[k:1] -> map[k:2]",
		"context":   map[string]interface{}{"ip_context": map[string]interface{}{"src_ip_addrs": "[x] -> [x y]"}},
		"mechanism": map[string]interface{}{"type": " -> KERNEL"},
	}, diff)

	_, differs = traceverbose.Diff(was.ProtoReflect(), is.GetMechanism().ProtoReflect())
	require.True(t, differs)
}
