// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Stats are the counters of a tunnel since it was opened. Rx is from the peer,
// tx to it.
type Stats struct {
	// LastHandshake is zero before the first.
	LastHandshake time.Time
	// Endpoint is where the peer is now.
	Endpoint netip.AddrPort
	// IP packets and their bytes, as Inside took and gave them.
	RxPackets, RxBytes, TxPackets, TxBytes uint64
	// WireRxBytes and WireTxBytes are WireGuard messages, handshakes included,
	// without UDP and IP headers.
	WireRxBytes, WireTxBytes uint64
	// Dropped are datagrams that the tunnel had no room for and packets that
	// Inside did not take.
	Dropped uint64
	// SendErrors are bursts that Transport refused.
	SendErrors uint64
}

// Stats reads the counters. They are zero once the tunnel is closed, but for
// packets and bytes.
func (t *Tunnel) Stats() (Stats, error) {
	s := Stats{
		RxPackets:  t.device.rxPackets.Load(),
		RxBytes:    t.device.rxBytes.Load(),
		TxPackets:  t.device.txPackets.Load(),
		TxBytes:    t.device.txBytes.Load(),
		Dropped:    t.dropped.Load() + t.device.dropped.Load(),
		SendErrors: t.sendErrors.Load(),
	}
	if err := t.readDevice(&s); err != nil {
		return Stats{}, fmt.Errorf("read counters of wireguard tunnel to %s: %w", t.config.Remote, err)
	}
	return s, nil
}

func (t *Tunnel) lastHandshake() (time.Time, error) {
	var s Stats
	err := t.readDevice(&s)
	return s.LastHandshake, err
}

// readDevice asks the device for its state in text form. The text holds the
// private key, so neither it nor errors of parsing it may go anywhere.
func (t *Tunnel) readDevice(s *Stats) error {
	text, err := t.wg.IpcGet()
	if err != nil {
		return err
	}
	var seconds, nanoseconds int64
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		var err error
		switch name {
		case "endpoint":
			s.Endpoint, err = netip.ParseAddrPort(value)
		case "last_handshake_time_sec":
			seconds, err = strconv.ParseInt(value, 10, 64)
		case "last_handshake_time_nsec":
			nanoseconds, err = strconv.ParseInt(value, 10, 64)
		case "rx_bytes":
			s.WireRxBytes, err = strconv.ParseUint(value, 10, 64)
		case "tx_bytes":
			s.WireTxBytes, err = strconv.ParseUint(value, 10, 64)
		}
		if err != nil {
			return errors.New("device reports a " + name + " that does not parse")
		}
	}
	if seconds != 0 || nanoseconds != 0 {
		s.LastHandshake = time.Unix(seconds, nanoseconds)
	}
	return nil
}
