// SPDX-License-Identifier: Apache-2.0

// Package dnsconfig reads DNS configurations from the environment.
package dnsconfig

import (
	"encoding/json"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// Decoder is an envconfig decoder of a JSON list of DNS configurations.
type Decoder []*networkservice.DNSConfig

// Decode replaces the list by that in v.
func (d *Decoder) Decode(v string) error {
	var configs []*networkservice.DNSConfig
	if err := json.Unmarshal([]byte(v), &configs); err != nil {
		return fmt.Errorf("decode DNS configurations: %w", err)
	}
	*d = configs
	return nil
}
