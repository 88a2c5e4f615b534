// SPDX-License-Identifier: Apache-2.0

// Command forwarder is an NSM forwarder that takes tunnel frames off the uplink
// with AF_XDP.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nsm-afxdp/forwarder/internal/forwarder"
	"github.com/nsm-afxdp/forwarder/internal/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "forwarder:", err)
	var code exitCode
	if errors.As(err, &code) {
		os.Exit(code.code)
	}
	os.Exit(service.ExitFailure)
}

// exitCode is an error that ends the process with a code of its own.
type exitCode struct {
	code int
	text string
}

func (e exitCode) Error() string { return e.text }

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "forwarder",
		Short: "Link pods over AF_XDP, as a forwarder of Network Service Mesh",
		Long: `forwarder makes the private links of Network Service Mesh on one node. An XDP
program on the uplink sends the mesh's tunnel frames to AF_XDP sockets that the
forwarder reads, and passes everything else to Linux untouched.

Without a command it runs the forwarder, as forwarder run does.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context()) },
	}
	root.AddCommand(newRun(), newDoctor(), newStatus(), newHealth(), newDetach(), newDemo())
	return root
}

func newRun() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the forwarder until SIGTERM",
		Long: `Run the forwarder until SIGTERM or SIGINT. SIGUSR1 raises the log level to TRACE,
SIGUSR2 sets it back. When the process is killed, its pinned XDP program passes
every frame to Linux, and the next run takes it over.

` + service.Usage(&forwarder.Config{}),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context()) },
	}
}

func run(ctx context.Context) error {
	config := new(forwarder.Config)
	if err := service.Load(config); err != nil {
		return err
	}
	return forwarder.Run(ctx, config)
}
