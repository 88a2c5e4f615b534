// SPDX-License-Identifier: Apache-2.0

package clientinfo_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientinfo"
)

func TestLabelsFromTheEnvironment(t *testing.T) {
	t.Setenv("NODE_NAME", "node-1")
	t.Setenv("POD_NAME", "pod-1")
	conn, err := clientinfo.NewClient().Request(t.Context(), &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Labels: map[string]string{"podName": "mine"}},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"podName": "mine", "nodeName": "node-1"}, conn.GetLabels())

	conn, err = clientinfo.NewClient().Request(t.Context(), &networkservice.NetworkServiceRequest{})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"podName": "pod-1", "nodeName": "node-1"}, conn.GetLabels())
}
