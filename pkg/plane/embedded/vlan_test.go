// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"testing"
)

// A pod and a host on its VLAN reach each other.
func TestVLANHost(t *testing.T) {
	v := newVLANNet(t, 1500, 100, nil)
	v.hold(t, 100)
	pod := newNamespace(t)
	link := v.join(t, pod, 100, 1)
	if link.MTU != 1500 || link.Path != "embedded" {
		t.Errorf("link %+v", link)
	}
	for _, to := range []string{"10.7.0.9", "fd07::9"} {
		pod.ping(t, to)
	}
	for _, to := range []string{"10.7.0.1", "fd07::1"} {
		v.host.ping(t, to)
	}
	stream(t, pod, v.host, "10.7.0.9", 32<<20)
	stream(t, v.host, pod, "fd07::1", 32<<20)
}
