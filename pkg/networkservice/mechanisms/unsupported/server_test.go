// SPDX-License-Identifier: Apache-2.0

package unsupported_test

import (
	"context"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/unsupported"
)

func TestOnlyThoseWhoTakeNothingElseAreRefused(t *testing.T) {
	server := chain.NewNetworkServiceServer(unsupported.NewServer([]string{"KERNEL", "VXLAN"}, map[string]string{
		"MEMIF": "there is none; ask for kernel://...",
	}))
	const reason = "mechanism MEMIF: not supported by this forwarder: there is none; ask for kernel://..."
	for name, tc := range map[string]struct {
		has     string
		prefers []string
		want    string
	}{
		"insists on it":                 {"", []string{"MEMIF"}, reason},
		"takes nothing that we have":    {"", []string{"VFIO", "MEMIF", "MEMIF"}, reason},
		"prefers it":                    {"", []string{"MEMIF", "KERNEL"}, ""},
		"prefers another":               {"", []string{"KERNEL", "MEMIF"}, ""},
		"asks for what has no reason":   {"", []string{"VFIO"}, ""},
		"asks for nothing":              {"", nil, ""},
		"had it before we were changed": {"MEMIF", []string{"KERNEL"}, reason},
		"has another":                   {"KERNEL", []string{"MEMIF"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "c1"}}
			if tc.has != "" {
				r.Connection.Mechanism = &networkservice.Mechanism{Type: tc.has}
			}
			for _, p := range tc.prefers {
				r.MechanismPreferences = append(r.MechanismPreferences, &networkservice.Mechanism{Type: p})
			}
			_, err := server.Request(context.Background(), r)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tc.want)
			require.ErrorIs(t, err, unsupported.ErrUnsupported)
			_, err = server.Close(context.Background(), r.GetConnection())
			require.NoError(t, err, "what it may have left is cleaned up")
		})
	}
}
