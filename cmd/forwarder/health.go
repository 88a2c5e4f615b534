// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/nsm-afxdp/forwarder/internal/forwarder"
	"github.com/nsm-afxdp/forwarder/internal/service"
)

func newHealth() *cobra.Command {
	var name string
	timeout := 2 * time.Second
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the running forwarder whether it serves, for probes of a pod",
		Long: `health asks the gRPC health service at NSM_LISTEN_ON, with this container's SPIFFE
identity, and exits 0 only if it answers SERVING.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := new(forwarder.Config)
			if err := service.Load(config); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			identity, err := service.NewIdentity(ctx, config.MaxTokenLifetime)
			if err != nil {
				return err
			}
			defer func() { _ = identity.Close() }()
			conn, err := grpc.NewClient(grpcutils.URLToTarget(&config.ListenOn), grpc.WithTransportCredentials(identity.ClientCredentials()))
			if err != nil {
				return fmt.Errorf("ask %s: %w", &config.ListenOn, err)
			}
			defer func() { _ = conn.Close() }()
			answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: name})
			if err != nil {
				return fmt.Errorf("ask %s: %w", &config.ListenOn, err)
			}
			if answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
				return fmt.Errorf("ask %s: the answer is %s", &config.ListenOn, answer.GetStatus())
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.GetStatus())
			return err
		},
	}
	cmd.Flags().StringVar(&name, "service", "", "full name of a gRPC service; by default the whole server")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "limit for the answer")
	return cmd
}
