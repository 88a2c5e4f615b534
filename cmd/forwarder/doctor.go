// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/nsm-afxdp/forwarder/internal/forwarder"
	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/pkg/doctor"
)

// exitUnfit is the exit code of doctor on a node that cannot run the forwarder.
const exitUnfit = 3

func newDoctor() *cobra.Command {
	var attach bool
	output := "table"
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether this node can run the forwarder, and what to do where it cannot",
		Long: `doctor looks at the kernel, the uplink and the rights of this process, and says of
each whether it will do and, if not, what to do about it. It reads NSM_TUNNEL_IP
and NSM_BPF_FS as the forwarder does. It exits 0 if the forwarder can run here
and 3 if it cannot.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := new(forwarder.Config)
			if err := service.Load(config); err != nil {
				return err
			}
			tunnel, _ := netip.AddrFromSlice(config.TunnelIP)
			report := doctor.Run(doctor.Options{Tunnel: tunnel.Unmap(), BPFFS: config.BPFFS, Attach: attach})
			var err error
			switch output {
			case "table":
				err = report.WriteTable(cmd.OutOrStdout())
			case "json":
				err = report.WriteJSON(cmd.OutOrStdout())
			default:
				err = fmt.Errorf("--output %q: want table or json", output)
			}
			if err == nil && report.Failed() {
				err = exitCode{code: exitUnfit, text: "this node cannot run the forwarder as it is"}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&attach, "attach", false,
		"try XDP and zero copy on the uplink itself, which makes many drivers drop the link for a moment")
	cmd.Flags().StringVarP(&output, "output", "o", output, "table or json")
	return cmd
}
