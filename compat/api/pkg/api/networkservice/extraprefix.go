// SPDX-License-Identifier: Apache-2.0

package networkservice

import (
	"errors"
	"fmt"
)

// IsValid returns an error that names the first thing wrong with the request.
func (c *ExtraPrefixRequest) IsValid() error {
	if c == nil {
		return errors.New("extra prefix request: missing")
	}
	if c.GetRequiredNumber() == 0 || c.GetRequestedNumber() == 0 {
		return fmt.Errorf("extra prefix request: required (%d) and requested (%d) number must be at least 1",
			c.GetRequiredNumber(), c.GetRequestedNumber())
	}
	if c.GetRequiredNumber() > c.GetRequestedNumber() {
		return fmt.Errorf("extra prefix request: required number %d exceeds requested number %d",
			c.GetRequiredNumber(), c.GetRequestedNumber())
	}
	if c.GetAddrFamily() == nil {
		return errors.New("extra prefix request: address family missing")
	}
	longest := uint32(32)
	if c.GetAddrFamily().GetFamily() == IpFamily_IPV6 {
		longest = 128
	}
	if c.GetPrefixLen() == 0 || c.GetPrefixLen() > longest {
		return fmt.Errorf("extra prefix request: prefix length %d is not in 1..%d", c.GetPrefixLen(), longest)
	}
	return nil
}
