// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/uplink"
)

// WriteTable prints the status for people.
func (s *Status) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }

	row("forwarder %s, process %d, up %s, plane %s", s.Name, s.PID, time.Since(s.Started).Round(time.Second), s.Plane)
	if u := s.Uplink; u != nil {
		attached := ""
		if u.XDPMode != "" {
			attached = ", XDP " + u.XDPMode + ", AF_XDP copy"
			if u.ZeroCopy {
				attached = ", XDP " + u.XDPMode + ", AF_XDP zero-copy"
			}
		}
		row("uplink %s %s, MTU %d, queues %d%s", u.Interface, u.Address, u.MTU, u.Queues, attached)
	}

	for _, c := range s.Settings {
		row("changed %s from %q to %q", c, c.Was, c.Now)
	}

	row("\nNEXT HOP TO\tVIA\tADDRESS\tSTATE\tMTU\tPORTS")
	for i := range s.Hops {
		row("%s", hop(&s.Hops[i]))
	}
	row("\nCLASSIFIER\tREASON\tPACKETS\tBYTES")
	for _, c := range s.Counters {
		row("%s\t%s\t%d\t%d", c.Verdict, c.Reason, c.Packets, c.Bytes)
	}
	if len(s.Drops) > 0 {
		row("\nDROPPED BY THE PLANE\tPACKETS")
		for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
			row("%s\t%d", reason, s.Drops[reason])
		}
	}
	row("\nPINHOLE\tCONNECTIONS")
	for _, p := range s.Pinholes {
		row("%s\t%d", p.To, p.References)
	}
	row("\nCONNECTION\tPAYLOAD\tMTU\tPATH\tSIDE\tPORT\tRX PACKETS\tRX BYTES\tTX PACKETS\tTX BYTES\tDROPS")
	for _, l := range s.Links {
		row("%s\t%s\t%d\t%s\tclient\t%s", l.ID, l.Payload, l.MTU, l.Path, l.Client)
		row("\t\t\t\tendpoint\t%s", l.Endpoint)
	}
	return t.Flush()
}

// String is the columns of a port.
func (p Port) String() string {
	c := p.Counters
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%d", p.Description, c.RxPackets, c.RxBytes, c.TxPackets, c.TxBytes, c.Drops)
}

// hop is the columns of a next hop.
func hop(h *uplink.HopStatus) string {
	via, address, state := "-", "-", h.State
	if h.Via.IsValid() {
		via = h.Via.String()
	}
	if h.HardwareAddr != "" {
		address = h.HardwareAddr
	}
	if !h.Valid {
		state = h.Why
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%d", h.Remote, via, address, state, h.MTU, h.Users)
}
