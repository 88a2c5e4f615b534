// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nsm-afxdp/forwarder/internal/demo"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
)

func newDemo() *cobra.Command {
	var o demo.Options
	var names []string
	var list bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Link two nodes made of network namespaces, and show the traffic",
		Long: `demo makes two nodes out of network namespaces, runs a registry, two nsmgrs, two
forwarders, clients and endpoints on them as real processes, pings both ways
over VXLAN and WireGuard, or in any other use case, shows the counters and cleans
up. The other programs are looked for beside this one. It exits 0 only if every
check passed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if list {
				return usecase.List(cmd.OutOrStdout(), usecase.Table)
			}
			var err error
			if o.Cases, err = usecase.FindAll(names); err != nil {
				return err
			}
			if err := demo.Check(); err != nil {
				return err
			}
			if o.Bin == "" {
				self, err := os.Executable()
				if err != nil {
					return fmt.Errorf("find the other programs: %w", err)
				}
				o.Bin = filepath.Dir(self)
			}
			o.Out = cmd.OutOrStdout()
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringSliceVar(&names, "use-case", demo.Default, "what to show, several with commas or repeated")
	cmd.Flags().BoolVar(&list, "list", false, "list all use cases and end")
	cmd.Flags().StringVar(&o.Plane, "plane", "", "forwarding plane: embedded or kernel (as FORWARDING_PLANE says, else the forwarder's choice)")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave everything up until Ctrl-C")
	cmd.Flags().StringVar(&o.Bin, "bin", "", "folder of the programs (that of this one)")
	cmd.Flags().StringVar(&o.LogLevel, "log-level", "INFO", "log level of the programs")
	return cmd
}
