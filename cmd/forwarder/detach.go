// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/nsm-afxdp/forwarder/internal/forwarder"
	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
)

func newDetach() *cobra.Command {
	return &cobra.Command{
		Use:   "detach INTERFACE",
		Short: "Take a classifier off an uplink that an earlier run left there",
		Long: `detach removes the forwarder's XDP program, maps and pins from an interface,
after a run that was killed or that was told to keep them
(NSM_KEEP_CLASSIFIER=true). It finds the pins by NSM_BPF_FS. Programs of others
are left alone.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			config := new(forwarder.Config)
			if err := service.Load(config); err != nil {
				return err
			}
			return classifier.Uninstall(config.PinDir(), args[0])
		},
	}
}
