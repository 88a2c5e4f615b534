// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

// withCommand executes a program that greets; it never runs without arguments.
func withCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	loud := false
	code = service.Program{
		Name: "thing", Short: "do things", Config: new(config), Run: func(context.Context) error { return errors.New("it runs") },
		Commands: []service.Command{{
			Use: "greet NAME", Short: "say hello", About: "\nPolitely.\n", Args: 1,
			Flags: func(flags *pflag.FlagSet) { flags.BoolVarP(&loud, "loud", "l", false, "shout") },
			Run: func(_ context.Context, args []string, out io.Writer) error {
				switch args[0] {
				case "nobody":
					return service.ExitError(service.ExitFailure)
				case "enemy":
					return errors.New("not to this one")
				}
				_, err := fmt.Fprintf(out, "hello %s %v\n", args[0], loud)
				return err
			},
		}},
	}.Execute(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandsNeedNoEnvironment(t *testing.T) {
	t.Setenv("NSM_TIMEOUT", "soon") // would be refused
	code, out, stderr := withCommand(t, "greet", "-l", "you")
	require.Equal(t, service.ExitOK, code)
	require.Equal(t, "hello you true\n", out)
	require.Empty(t, stderr)
}

func TestCommandsHaveExitCodesOfTheirOwn(t *testing.T) {
	for _, test := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"greet", "nobody"}, service.ExitFailure, ""},
		{[]string{"greet", "enemy"}, service.ExitUsage, "thing: not to this one\n"},
		{[]string{"greet"}, service.ExitUsage, "accepts 1 arg"},
		{[]string{"greet", "a", "b"}, service.ExitUsage, "accepts 1 arg"},
		{[]string{"greet", "--quietly", "a"}, service.ExitUsage, "--quietly"},
		{[]string{"shout"}, service.ExitUsage, "shout"},
		{nil, service.ExitFailure, "it runs"},
	} {
		code, out, stderr := withCommand(t, test.args...)
		require.Equal(t, test.code, code, "%v", test.args)
		require.Empty(t, out)
		require.Contains(t, stderr, test.stderr)
		if test.stderr == "" {
			require.Empty(t, stderr)
		}
	}
}

func TestHelpShowsCommands(t *testing.T) {
	_, out, _ := withCommand(t, "--help")
	require.Contains(t, out, "greet       say hello")
	_, out, _ = withCommand(t, "greet", "--help")
	require.Contains(t, out, "Politely.")
	require.Contains(t, out, "thing greet NAME [flags]")
	require.Contains(t, out, "--loud")
}
