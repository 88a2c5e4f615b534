// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is something else to do with a Program, with arguments of its own and without
// the environment.
type Command struct {
	// Use is its name and its arguments, as in "ping ADDRESS".
	Use string
	// Short is one line and About a few paragraphs for --help.
	Short, About string
	// Args is the number of arguments.
	Args int
	// Flags adds the command's options; may be nil.
	Flags func(flags *pflag.FlagSet)
	// Run does it, until ctx ends at the latest. An ExitError ends the program with its
	// code and without a word, any other with ExitUsage.
	Run func(ctx context.Context, args []string, out io.Writer) error
}

// ExitError is an exit code for an end that needs no more words.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// command makes c one of cobra's.
func (c Command) command(code *int) *cobra.Command {
	cmd := &cobra.Command{
		Use:           c.Use,
		Short:         c.Short,
		Long:          strings.TrimSpace(c.About),
		Args:          cobra.ExactArgs(c.Args),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			*code = ExitUsage
			return c.Run(cmd.Context(), args, cmd.OutOrStdout())
		},
	}
	if c.Flags != nil {
		c.Flags(cmd.Flags())
	}
	return cmd
}
