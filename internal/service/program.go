// SPDX-License-Identifier: Apache-2.0

// Package service is what the programs of the mesh have in common: they are
// configured by the environment, log alike, prove who they are with SPIFFE, talk gRPC
// over mutual TLS, and end on a signal.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of a Program.
const (
	// ExitOK is for a program that was told to end, or that has done its work.
	ExitOK = 0
	// ExitFailure is for a program that could not go on.
	ExitFailure = 1
	// ExitUsage is for arguments or an environment that make no sense.
	ExitUsage = 2
)

// Program is a command that reads its configuration from the environment. Without
// arguments it runs.
type Program struct {
	// Name of the program's file.
	Name string
	// Short is one line and About a few paragraphs for --help.
	Short, About string
	// Config points at a struct for Load.
	Config any
	// Run does the work with Config filled in, until ctx ends; that is no error.
	Run func(ctx context.Context) error
	// Commands are other things to do with it, by name.
	Commands []Command
}

// Main runs the program and ends the process with one of the exit codes. The context
// that Run gets ends with SIGINT, SIGTERM, SIGHUP or SIGQUIT; a second one kills.
func (p Program) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	context.AfterFunc(ctx, stop)
	code := p.Execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Execute is Main without the process around it; it returns the exit code.
func (p Program) Execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code := ExitUsage
	cmd := &cobra.Command{
		Use:           p.Name,
		Short:         p.Short,
		Long:          p.help(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := Load(p.Config); err != nil {
				return err
			}
			code = ExitFailure
			err := p.Run(cmd.Context())
			if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
				return nil
			}
			return err
		},
	}
	for _, c := range p.Commands {
		cmd.AddCommand(c.command(&code))
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	var exit ExitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return int(exit)
	}
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
	return code
}

func (p Program) help() string {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "%s: %s\n\n%s\n\n%s", p.Name, p.Short, strings.TrimSpace(p.About), Usage(p.Config))
	text.WriteString(`
  SPIFFE_ENDPOINT_SOCKET  URL
      SPIFFE Workload API that gives the program its identity, unix:///...

  TELEMETRY  True or False
      whether to send traces and metrics to the OpenTelemetry collector

Signals:

  SIGUSR1 raises the log level to TRACE, SIGUSR2 sets it back. SIGTERM, SIGINT,
  SIGQUIT and SIGHUP end the program; the second one ends it at once.

Exit codes:

  0  told to end
  1  could not go on; the reason is the last line on standard error
  2  unknown arguments, or a variable that makes no sense
`)
	return text.String()
}
