// SPDX-License-Identifier: Apache-2.0

package mechanismpriority_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanismpriority"
)

func TestOrder(t *testing.T) {
	for _, c := range []struct{ priorities, offered, want string }{
		{"", "KERNEL VXLAN MEMIF", "KERNEL VXLAN MEMIF"},
		{"MEMIF", "KERNEL VXLAN MEMIF", "MEMIF KERNEL VXLAN"},
		{"vlan memif", "KERNEL MEMIF VXLAN VLAN MEMIF", "VLAN MEMIF MEMIF KERNEL VXLAN"},
		{"SRV6", "KERNEL VXLAN", "KERNEL VXLAN"},
		{"MEMIF", "", ""},
	} {
		r := new(networkservice.NetworkServiceRequest)
		for _, mechanismType := range strings.Fields(c.offered) {
			r.MechanismPreferences = append(r.MechanismPreferences, &networkservice.Mechanism{Type: mechanismType})
		}
		r.Connection = new(networkservice.Connection)
		_, err := mechanismpriority.NewClient(strings.Fields(c.priorities)...).Request(context.Background(), r)
		require.NoError(t, err)
		var got []string
		for _, m := range r.GetMechanismPreferences() {
			got = append(got, m.GetType())
		}
		require.Equal(t, c.want, strings.Join(got, " "))
	}
}
