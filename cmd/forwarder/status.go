// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"context"

	"github.com/spf13/cobra"

	"github.com/nsm-afxdp/forwarder/internal/status"
)

func newStatus() *cobra.Command {
	socket, output := "/var/run/nsm-forwarder/status.sock", "table"
	if s := os.Getenv("NSM_STATUS_SOCKET"); s != "" {
		socket = s
	}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the links, ports, pinholes and counters of the running forwarder",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			s, err := status.Ask(ctx, socket)
			if err != nil {
				return err
			}
			switch output {
			case "table":
				return s.WriteTable(cmd.OutOrStdout())
			case "json":
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(s)
			default:
				return fmt.Errorf("--output %q: want table or json", output)
			}
		},
	}
	cmd.Flags().StringVar(&socket, "socket", socket, "unix socket of the forwarder (NSM_STATUS_SOCKET)")
	cmd.Flags().StringVarP(&output, "output", "o", output, "table or json")
	return cmd
}
