// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"fmt"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// Channels are the queues of a device as the driver counts them (ethtool -l).
// An AF_XDP socket can be bound to queue numbers below the larger of RX and TX,
// but frames come in on those below RX only.
type Channels struct {
	RX, TX int
	// Combined are those of RX and TX that share an interrupt.
	Combined int
	// MaxRX, MaxTX and MaxCombined are what the driver could have.
	MaxRX, MaxTX, MaxCombined int
}

// ReadChannels asks the driver. The error wraps unix.EOPNOTSUPP if it has no
// answer.
func ReadChannels(name string) (Channels, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return Channels{}, fmt.Errorf("open ethtool socket: %w", err)
	}
	defer e.Close()
	c, err := e.GetChannels(name)
	if err != nil {
		return Channels{}, fmt.Errorf("read channels of %s: %w", name, err)
	}
	return Channels{
		RX: int(c.RxCount + c.CombinedCount), TX: int(c.TxCount + c.CombinedCount), Combined: int(c.CombinedCount),
		MaxRX: int(c.MaxRx), MaxTX: int(c.MaxTx), MaxCombined: int(c.MaxCombined),
	}, nil
}

// countQueues counts the receive queues. Drivers without channels (tun, old
// ones) have those that the kernel made with the device.
func countQueues(device netlink.Link) int {
	if c, err := ReadChannels(device.Attrs().Name); err == nil && c.RX > 0 {
		return c.RX
	}
	return max(device.Attrs().NumRxQueues, 1)
}
