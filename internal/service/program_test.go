// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

type config struct {
	Name    string            `default:"somebody" desc:"who it is"`
	Listen  []url.URL         `default:"unix:///a,tcp://:1" desc:"where it listens" split_words:"true"`
	Timeout time.Duration     `default:"5s" desc:"how long it waits" split_words:"true"`
	Labels  map[string]string `desc:"what it is like"`
	Port    uint16            `default:"0" desc:"its port"`
	service.Common
}

func (c *config) Validate() error {
	if c.Name == "nobody" {
		return errors.New("NSM_NAME: want somebody")
	}
	return nil
}

func TestConfigComesFromTheEnvironment(t *testing.T) {
	t.Setenv("NSM_LISTEN", "unix:///x.sock,tcp://[::1]:5001")
	t.Setenv("NSM_TIMEOUT", "1m30s")
	t.Setenv("NSM_LABELS", "app:web,tier:1")
	t.Setenv("NSM_MAX_TOKEN_LIFETIME", "7m")
	t.Setenv("NSM_PPROF_ENABLED", "true")
	c := new(config)
	require.NoError(t, service.Load(c))
	require.Equal(t, "somebody", c.Name)
	require.Len(t, c.Listen, 2)
	require.Equal(t, "tcp://[::1]:5001", c.Listen[1].String())
	require.Equal(t, 90*time.Second, c.Timeout)
	require.Equal(t, map[string]string{"app": "web", "tier": "1"}, c.Labels)
	require.Equal(t, 7*time.Minute, c.MaxTokenLifetime)
	require.True(t, c.PprofEnabled)
	require.Equal(t, "INFO", c.LogLevel)
}

func TestErrorsNameTheVariableAndWhatItShouldBe(t *testing.T) {
	for _, test := range []struct{ variable, value, want string }{
		{"NSM_TIMEOUT", "soon", `NSM_TIMEOUT="soon": want a value of type time.Duration`},
		{"NSM_PORT", "65536", `NSM_PORT="65536": want a value of type uint16`},
		{"NSM_LABELS", "app=web", `NSM_LABELS`},
		{"NSM_LISTEN", "://", `NSM_LISTEN`},
		{"NSM_NAME", "nobody", `NSM_NAME: want somebody`},
	} {
		t.Run(test.variable, func(t *testing.T) {
			t.Setenv(test.variable, test.value)
			require.ErrorContains(t, service.Load(new(config)), test.want)
		})
	}
}

func TestUsageTellsTypeDefaultAndMeaningOfEveryVariable(t *testing.T) {
	usage := service.Usage(new(config))
	for _, want := range []string{
		"  NSM_NAME  String (somebody)\n      who it is\n",
		"  NSM_LISTEN  Comma-separated list of URL (unix:///a,tcp://:1)\n      where it listens\n",
		"  NSM_TIMEOUT  Duration (5s)\n",
		"  NSM_LABELS  Comma-separated list of String:String pairs\n      what it is like\n",
		"  NSM_MAX_TOKEN_LIFETIME  Duration (10m)\n",
		"  NSM_PPROF_LISTEN_ON  String (localhost:6060)\n",
	} {
		require.Contains(t, usage, want)
	}
	require.NotContains(t, usage, "NSM_COMMON")
	require.Less(t, strings.Index(usage, "NSM_NAME"), strings.Index(usage, "NSM_LOG_LEVEL"), "the order of the fields")
}

func execute(t *testing.T, run func(context.Context) error, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = service.Program{
		Name: "thing", Short: "do things", About: "\nA paragraph.\n", Config: new(config), Run: run,
	}.Execute(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestHelpIsPrintedAndNothingRuns(t *testing.T) {
	code, stdout, stderr := execute(t, func(context.Context) error { t.Error("it runs"); return nil }, "--help")
	require.Equal(t, service.ExitOK, code)
	require.Empty(t, stderr)
	for _, want := range []string{"thing: do things", "A paragraph.", "NSM_TIMEOUT", "SPIFFE_ENDPOINT_SOCKET", "SIGUSR1", "Exit codes"} {
		require.Contains(t, stdout, want)
	}
}

func TestExitCodesTellUseFromFailure(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		env    string
		err    error
		code   int
		stderr string
	}{
		{"success", nil, "", nil, service.ExitOK, ""},
		{"failure", nil, "", errors.New("the disk is full"), service.ExitFailure, "thing: the disk is full\n"},
		{"unknown argument", []string{"now"}, "", nil, service.ExitUsage, "now"},
		{"unknown flag", []string{"--now"}, "", nil, service.ExitUsage, "--now"},
		{"bad variable", nil, "soon", nil, service.ExitUsage, "NSM_TIMEOUT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.env != "" {
				t.Setenv("NSM_TIMEOUT", test.env)
			}
			code, _, stderr := execute(t, func(context.Context) error { return test.err }, test.args...)
			require.Equal(t, test.code, code)
			require.Contains(t, stderr, test.stderr)
			if test.stderr == "" {
				require.Empty(t, stderr)
			}
		})
	}
}

func TestBeingToldToEndIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	code := service.Program{Name: "thing", Config: new(config), Run: func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return fmt.Errorf("dial the nsmgr: %w", ctx.Err())
	}}.Execute(ctx, nil, &stderr, &stderr)
	require.Equal(t, service.ExitOK, code)
	require.Empty(t, stderr.String())
}

func TestWaitTellsFailureFromEnd(t *testing.T) {
	ctx, fail := context.WithCancelCause(t.Context())
	fail(errors.New("the listener broke"))
	require.EqualError(t, service.Wait(ctx), "the listener broke")
	ctx, fail = context.WithCancelCause(t.Context())
	fail(nil)
	require.NoError(t, service.Wait(ctx))
}
