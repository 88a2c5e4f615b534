// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vlan"
)

// deviceSelector is the stock forwarder's file: which device leads to the
// networks that endpoints mark with a label via.
type deviceSelector struct {
	Interfaces []struct {
		Name    string `yaml:"name"`
		Matches []struct {
			LabelSelector []struct {
				Via string `yaml:"via"`
			} `yaml:"labelSelector"`
		} `yaml:"matches"`
	} `yaml:"interfaces"`
}

// readDevices reads NSM_DEVICE_SELECTOR_FILE. The uplink, which may be named
// there, is the plane's own.
func readDevices(path, uplink string) (vlan.Devices, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("NSM_DEVICE_SELECTOR_FILE: %w", err)
	}
	devices, err := parseDevices(content, uplink)
	if err != nil {
		return nil, fmt.Errorf("NSM_DEVICE_SELECTOR_FILE %s: %w", path, err)
	}
	return devices, nil
}

func parseDevices(content []byte, uplink string) (vlan.Devices, error) {
	var file deviceSelector
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	devices := make(vlan.Devices)
	for _, i := range file.Interfaces {
		if i.Name == "" || len(i.Name) >= unix.IFNAMSIZ {
			return nil, fmt.Errorf("%q is no name of an interface", i.Name)
		}
		device := i.Name
		if device == uplink {
			device = ""
		}
		for _, match := range i.Matches {
			if len(match.LabelSelector) == 0 {
				return nil, fmt.Errorf("interface %s: a match without labelSelector", i.Name)
			}
			for _, label := range match.LabelSelector {
				if label.Via == "" {
					return nil, fmt.Errorf("interface %s: a labelSelector without via", i.Name)
				}
				if other, ok := devices[label.Via]; ok && other != device {
					return nil, fmt.Errorf("interface %s: another one has via: %s, too", i.Name, label.Via)
				}
				devices[label.Via] = device
			}
		}
	}
	return devices, nil
}
