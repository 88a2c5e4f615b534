// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vlan"
)

const twoDevices = `
interfaces:
  - name: eth0
    matches:
      - labelSelector:
          - via: gw0
  - name: eth1
    matches:
      - labelSelector:
          - via: gw1
          - via: gw2
      - labelSelector:
          - via: gw3
  - name: eth2
`

func TestTheDeviceSelectorFileIsTheStockOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(twoDevices), 0o600))
	devices, err := readDevices(path, "eth0")
	require.NoError(t, err)
	require.Equal(t, vlan.Devices{"gw0": "", "gw1": "eth1", "gw2": "eth1", "gw3": "eth1"}, devices)

	devices, err = readDevices("", "eth0")
	require.NoError(t, err)
	require.Empty(t, devices)
	_, err = readDevices(path+"x", "eth0")
	require.ErrorContains(t, err, "NSM_DEVICE_SELECTOR_FILE: ")
}

func TestADeviceSelectorThatMakesNoSenseIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"no YAML":          {"{", "yaml"},
		"another file":     {"kind: Pod", "kind"},
		"no name":          {"interfaces: [{matches: []}]", `"" is no name`},
		"name too long":    {"interfaces: [{name: sixteen-bytes-xx}]", "sixteen-bytes-xx"},
		"no selector":      {"interfaces: [{name: eth1, matches: [{}]}]", "without labelSelector"},
		"no via":           {"interfaces: [{name: eth1, matches: [{labelSelector: [{}]}]}]", "without via"},
		"two for one via":  {"interfaces: [{name: a, matches: [{labelSelector: [{via: x}]}]}, {name: b, matches: [{labelSelector: [{via: x}]}]}]", "another one has via: x"},
		"unknown selector": {"interfaces: [{name: a, matches: [{labelSelector: [{domain: x}]}]}]", "domain"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseDevices([]byte(tc.content), "eth0")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func FuzzDevices(f *testing.F) {
	f.Add([]byte(twoDevices))
	f.Add([]byte("interfaces: [null, {name: a, matches: [null]}]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		devices, err := parseDevices(content, "eth0")
		for via, device := range devices {
			if err == nil && (via == "" || device == "eth0" || len(device) > 15) {
				t.Errorf("via %q leads to %q", via, device)
			}
		}
	})
}
