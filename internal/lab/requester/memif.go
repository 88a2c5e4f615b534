// SPDX-License-Identifier: Apache-2.0

package requester

import (
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
)

// Memif is a request for a memif of that name, whose socket is to be in the pod.
func (p *Pod) Memif(id, networkService, name string) *networkservice.NetworkServiceRequest {
	m := memif.NewAbstract(p.Path)
	m.GetParameters()[common.InterfaceNameKey] = name
	return &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: id, NetworkService: networkService},
		MechanismPreferences: []*networkservice.Mechanism{m},
	}
}
