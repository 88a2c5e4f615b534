// SPDX-License-Identifier: Apache-2.0

package mechanisms_test

import (
	"maps"
	"net"
	"slices"
	"testing"

	ns "github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/ipsec"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/noop"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/srv6"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vfio"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
)

func mechanism(kind string) *ns.Mechanism { return &ns.Mechanism{Type: kind} }

func TestOnlyTheRightTypeIsWrapped(t *testing.T) {
	wraps := map[string]func(*ns.Mechanism) bool{
		"KERNEL":    func(m *ns.Mechanism) bool { return kernel.ToMechanism(m) != nil },
		"MEMIF":     func(m *ns.Mechanism) bool { return memif.ToMechanism(m) != nil },
		"VFIO":      func(m *ns.Mechanism) bool { return vfio.ToMechanism(m) != nil },
		"NOOP":      func(m *ns.Mechanism) bool { return noop.ToMechanism(m) != nil },
		"VXLAN":     func(m *ns.Mechanism) bool { return vxlan.ToMechanism(m) != nil },
		"WIREGUARD": func(m *ns.Mechanism) bool { return wireguard.ToMechanism(m) != nil },
		"IPSEC":     func(m *ns.Mechanism) bool { return ipsec.ToMechanism(m) != nil },
		"VLAN":      func(m *ns.Mechanism) bool { return vlan.ToMechanism(m) != nil },
		"SRV6":      func(m *ns.Mechanism) bool { return srv6.ToMechanism(m) != nil },
	}
	for kind, wrap := range wraps {
		if wrap(nil) {
			t.Errorf("%s wraps nil", kind)
		}
		for other := range wraps {
			if got := wrap(mechanism(other)); got != (other == kind) {
				t.Errorf("%s wraps %s: %v", kind, other, got)
			}
		}
	}
}

// The names of the parameters are the protocol: every setter is checked against the
// map that goes over the wire.
func TestParametersOnTheWire(t *testing.T) {
	ip, ip6 := net.ParseIP("10.0.0.1"), net.ParseIP("2001:db8::1")
	kernelMechanism, vfioMechanism, memifMechanism := kernel.New("file:///proc/1/ns/net"), vfio.New("/cgroup"), memif.New("/run/memif.sock")
	k := kernel.ToMechanism(kernelMechanism)
	k.SetInterfaceName("nsm-1")
	k.SetDeviceTokenID("token")
	k.SetSupportsVLAN(true)
	k.SetVLAN(7).SetRouteLocalNet(true).SetIPTables4NatTemplate("-A one", "-A two")
	v := vfio.ToMechanism(vfioMechanism)
	v.SetIommuGroup(1)
	v.SetPCIAddress("0000:00:01.0")
	v.SetDeviceTokenID("token")
	v.SetVfioMajor(2)
	v.SetVfioMinor(3)
	v.SetDeviceMajor(4)
	v.SetDeviceMinor(5)
	memif.ToMechanism(memifMechanism).SetSocketFilename("@memif")

	for _, test := range []struct {
		name string
		got  map[string]string
		want map[string]string
	}{
		{"kernel", kernelMechanism.GetParameters(), map[string]string{
			"inodeURL": "file:///proc/1/ns/net", "name": "nsm-1", "tokenID": "token", "supportsVlan": "true", "vlan": "7",
			"routeLocalNet": "true", "IPTables4NatTemplate": "-A one;-A two"}},
		{"vfio", vfioMechanism.GetParameters(), map[string]string{
			"cgroupDir": "/cgroup", "iommuGroup": "1", "pciAddress": "0000:00:01.0", "tokenID": "token",
			"vfioMajor": "2", "vfioMinor": "3", "deviceMajor": "4", "deviceMinor": "5"}},
		{"memif", memifMechanism.GetParameters(), map[string]string{"inodeURL": "file:///run/memif.sock", "socketfile": "@memif"}},
		{"abstract memif", memif.NewAbstract("/proc/1/ns/net").GetParameters(), map[string]string{"inodeURL": "file:///proc/1/ns/net"}},
		{"vlan", vlan.ToMechanism(mechanism("VLAN")).SetVlanID(100).GetParameters(), map[string]string{"vlan-id": "100"}},
		{"vxlan", vxlan.ToMechanism(mechanism("VXLAN")).SetSrcIP(ip).SetDstIP(ip6).SetSrcPort(4789).SetDstPort(4790).SetVNI(12).SetMTU(1446).GetParameters(), map[string]string{
			"src_ip": "10.0.0.1", "dst_ip": "2001:db8::1", "src_port": "4789", "dst_port": "4790", "vni": "12", "MTU": "1446"}},
		{"wireguard", wireguard.ToMechanism(mechanism("WIREGUARD")).SetSrcIP(ip).SetDstIP(ip6).SetSrcPort(51820).SetDstPort(51821).SetSrcPublicKey("s").SetDstPublicKey("d").SetMTU(1420).GetParameters(), map[string]string{
			"src_ip": "10.0.0.1", "dst_ip": "2001:db8::1", "src_port": "51820", "dst_port": "51821", "src_public_key": "s", "dst_public_key": "d", "MTU": "1420"}},
		{"ipsec", ipsec.ToMechanism(mechanism("IPSEC")).SetSrcIP(ip).SetDstIP(ip6).SetSrcPort(4500).SetDstPort(4501).SetSrcPublicKey("s").SetDstPublicKey("d").SetMTU(1399).GetParameters(), map[string]string{
			"src_ip": "10.0.0.1", "dst_ip": "2001:db8::1", "src_port": "4500", "dst_port": "4501", "src_public_key": "s", "dst_public_key": "d", "MTU": "1399"}},
	} {
		if !maps.Equal(test.got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
	if kernelMechanism.GetCls() != cls.LOCAL || vfioMechanism.GetCls() != cls.LOCAL || memifMechanism.GetCls() != cls.LOCAL {
		t.Error("a local mechanism is not LOCAL")
	}
	if k.GetInterfaceName() != "nsm-1" || k.GetNetNSURL() != "file:///proc/1/ns/net" || k.GetDeviceTokenID() != "token" || !k.SupportsVLAN() ||
		k.GetVLAN() != 7 || !k.GetRouteLocalNet() || !slices.Equal(k.GetIPTables4NatTemplate(), []string{"-A one", "-A two"}) {
		t.Errorf("kernel reads back wrong: %v", kernelMechanism)
	}
	if v.GetIommuGroup() != 1 || v.GetVfioMajor() != 2 || v.GetVfioMinor() != 3 || v.GetDeviceMajor() != 4 || v.GetDeviceMinor() != 5 || v.GetCgroupDir() != "/cgroup" {
		t.Errorf("vfio reads back wrong: %v", vfioMechanism)
	}
}

func TestMemifHasOneURLForSocketAndNamespace(t *testing.T) {
	m := memif.ToMechanism(memif.New("/a"))
	m.SetNetNSURL("inode://1/2")
	if m.GetSocketFileURL() != "inode://1/2" {
		t.Error("the URLs are kept apart")
	}
	m.SetSocketFileURL("inode://3/4")
	if m.GetNetNSURL() != "inode://3/4" {
		t.Error("the URLs are kept apart")
	}
}

func TestUnusableNumbersReadAsZero(t *testing.T) {
	for _, bad := range []string{"", "x", "-1", "1.5", "99999999999", "0x10", " 1"} {
		params := map[string]string{"vni": bad, "src_port": bad, "MTU": bad, "vlan": bad, "vlan-id": bad, "src_ip": bad, "iommuGroup": "x", "supportsVlan": bad}
		x := vxlan.ToMechanism(&ns.Mechanism{Type: "VXLAN", Parameters: params})
		k := kernel.ToMechanism(&ns.Mechanism{Type: "KERNEL", Parameters: params})
		l := vlan.ToMechanism(&ns.Mechanism{Type: "VLAN", Parameters: params})
		if x.VNI() != 0 || x.SrcPort() != 0 || x.MTU() != 0 || x.SrcIP() != nil || k.GetVLAN() != 0 || l.GetVlanID() != 0 || k.SupportsVLAN() {
			t.Errorf("%q: vni %d port %d mtu %d ip %v vlan %d, %d", bad, x.VNI(), x.SrcPort(), x.MTU(), x.SrcIP(), k.GetVLAN(), l.GetVlanID())
		}
	}
	for value, want := range map[string]uint32{"16777215": 16777215, "16777216": 0} {
		if got := vxlan.ToMechanism(&ns.Mechanism{Type: "VXLAN", Parameters: map[string]string{"vni": value}}).VNI(); got != want {
			t.Errorf("VNI %s reads as %d, want %d", value, got, want)
		}
	}
	for value, want := range map[string]uint32{"4095": 4095, "4096": 0} {
		if got := vlan.ToMechanism(&ns.Mechanism{Type: "VLAN", Parameters: map[string]string{"vlan-id": value}}).GetVlanID(); got != want {
			t.Errorf("VLAN %s reads as %d, want %d", value, got, want)
		}
	}
}

func TestNilWrappersAreEmptyAndTakeNothing(t *testing.T) {
	var x *vxlan.Mechanism
	var k *kernel.Mechanism
	var w *wireguard.Mechanism
	k.SetInterfaceName("x")
	k.SetDeviceTokenID("x")
	if x.SetVNI(1) != nil || w.SetSrcPublicKey("k") != nil || x.SetSrcIP(net.IPv4zero) != nil || k.SetVLAN(1) != nil {
		t.Error("a setter of nil returned a wrapper")
	}
	if x.VNI() != 0 || x.SrcIP() != nil || w.DstPublicKey() != "" || k.GetInterfaceName() != "" || k.GetIPTables4NatTemplate() != nil || k.GetParameters() == nil {
		t.Error("a nil wrapper is not empty")
	}
}

func TestIPTablesTemplatesAreFilledIn(t *testing.T) {
	m := kernel.ToMechanism(kernel.New(""))
	m.SetInterfaceName("nsm-1")
	if _, err := m.EvaluateIPTables4NatTemplate(nil); err == nil {
		t.Error("evaluated a template that is not there")
	}
	conn := &ns.Connection{Context: &ns.ConnectionContext{IpContext: &ns.IPContext{
		SrcIpAddrs: []string{"10.0.0.1/32"}, DstIpAddrs: []string{"10.0.0.2/32", "10.0.0.3/32"},
	}}}
	m.SetIPTables4NatTemplate("-A PREROUTING -i {{ .NsmInterfaceName }}", "-d {{ index .NsmSrcIPs 0 }}{{ range .NsmDstIPs }} {{ . }}{{ end }}")
	rules, err := m.EvaluateIPTables4NatTemplate(conn)
	if want := []string{"-A PREROUTING -i nsm-1", "-d 10.0.0.1 10.0.0.2 10.0.0.3"}; err != nil || !slices.Equal(rules, want) {
		t.Errorf("%q, %v; want %q", rules, err, want)
	}
	for _, bad := range []string{"{{", "{{ index .NsmSrcIPs 5 }}", "{{ .Unknown }}"} {
		if rules, err := m.SetIPTables4NatTemplate(bad).EvaluateIPTables4NatTemplate(conn); err == nil {
			t.Errorf("%q gave %q without an error", bad, rules)
		}
	}
}

func TestSRv6ReadsOnlyAddresses(t *testing.T) {
	m := srv6.ToMechanism(&ns.Mechanism{Type: "SRV6", Parameters: map[string]string{
		srv6.SrcHostIP: "2001:db8::1", srv6.DstBSID: "no address", srv6.SrcHardwareAddress: "02:00:00:00:00:01",
	}})
	if m.SrcHostIP() != "2001:db8::1" || m.DstBSID() != "" || m.DstHostIP() != "" || m.SrcHardwareAddress() != "02:00:00:00:00:01" {
		t.Errorf("reads %q %q %q %q", m.SrcHostIP(), m.DstBSID(), m.DstHostIP(), m.SrcHardwareAddress())
	}
}
