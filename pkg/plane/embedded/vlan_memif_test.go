// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"fmt"
	"testing"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Pods with memifs are on a VLAN like others. Their addresses are not known before
// they have sent: until then they get what goes to nobody known.
func TestMemifsOnVLAN(t *testing.T) {
	v := newVLANNet(t, 1500, 100, nil)
	v.hold(t, 100)
	var programs []*program
	for i, role := range memifRoles {
		port := newNamespace(t).memif(t, "c", role.master)
		if _, err := v.Join(t.Context(), &plane.Connection{
			ID: fmt.Sprint("m", i), Payload: plane.Ethernet, Client: port, Endpoint: plane.VLAN{ID: 100},
		}); err != nil {
			t.Fatal(err)
		}
		programs = append(programs, startProgram(t, port, memif.Config{}).connect(t))
	}
	pod := newNamespace(t)
	v.join(t, pod, 100, 1)
	pod.ping(t, "10.7.0.9")
	inPod, outside := pod.tap(t, "nsm-1"), v.host.tap(t, "uplink")
	kernel := mac(pod.link(t, "nsm-1").Attrs().HardwareAddr)
	macs := []mac{{2, 0xcc, 0, 0, 0, 1}, {2, 0xcc, 0, 0, 0, 2}}
	host, all := mac{2, 0, 0, 0, 0, 9}, mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	domain := v.table.Load().vlans[100]

	silent := between(macs[0], kernel, 100)
	inPod.send(t, silent)
	programs[0].await(t, "what a pod sends to one that has not spoken", is(silent))
	outside.await(t, "the same", is(silent))
	for i, p := range programs {
		hello := between(all, macs[i], 101+i)
		p.send(t, hello)
		inPod.await(t, "a memif's hello", is(hello))
		outside.await(t, "a memif's hello", is(hello))
		programs[1-i].await(t, "the other memif's hello", is(hello))
	}
	v.eventually(t, "all are known", func() bool { return domain.unknown.Load() == 0 })
	for i, p := range programs {
		for k, to := range []struct {
			mac
			await func(frame []byte)
		}{
			{macs[1-i], func(f []byte) { programs[1-i].await(t, "from memif to memif", is(f)) }},
			{kernel, func(f []byte) { inPod.await(t, "from memif to kernel", is(f)) }},
			{host, func(f []byte) { outside.await(t, "from memif to the host", is(f)) }},
		} {
			f := between(to.mac, macs[i], 1500-k)
			p.send(t, f)
			to.await(f)
		}
		fromKernel, fromHost := between(macs[i], kernel, 1000), between(macs[i], host, 1001)
		inPod.send(t, fromKernel)
		p.await(t, "from kernel to memif", is(fromKernel))
		outside.send(t, fromHost)
		p.await(t, "from the host to memif", is(fromHost))
	}
}
