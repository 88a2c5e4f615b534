// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
)

// netstack are the rows about TCP between pods that have an IP stack of their own on
// a memif.
func (b *bench) netstack() (rows []*comparison) {
	for _, name := range []string{"Memif2Memif", "Memif2Ethernet2Memif"} {
		rows = append(rows, &comparison{name: "TCP " + name + ", gVisor's stack in both pods, streams 1", unit: "Gbit/s", ours: once(func() (Figure, error) {
			f := Figure{Method: fmt.Sprintf("nsc iperf to the DISCARD service of nse, %.0f s", b.duration.Seconds())}
			m, err := b.mesh()
			if err != nil {
				return f, err
			}
			c, err := usecase.Find(name)
			if err != nil {
				return f, err
			}
			f.Path = fmt.Sprintf(meshSetup, "embedded", "client pod and endpoint pod as in the use case "+name)
			k, err := m.lab.Link(b.ctx, c, lab.Calm())
			if err != nil {
				return f, err
			}
			if err := k.AwaitUp(b.ctx); err != nil {
				return f, err
			}
			f.Values, err = b.iperf(k)
			return f, err
		})})
	}
	return rows
}

// iperf measures from the client to the endpoint.
func (b *bench) iperf(k *lab.Linked) (values, error) {
	out, err := lab.Run(b.ctx, k.Client.Pod.Path, filepath.Join(b.bin, "nsc"), "iperf", "-J", "-t", b.duration.String(), k.EndpointAddr().String())
	if err != nil {
		return nil, err
	}
	var result struct {
		BitsPerSecond     float64 `json:"bitsPerSecond"`
		LongestGapSeconds float64 `json:"longestGapSeconds"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return nil, fmt.Errorf("read what nsc iperf says: %w: %s", err, out)
	}
	return values{"Gbit/s": result.BitsPerSecond / 1e9, "longest gap ms": 1e3 * result.LongestGapSeconds}, nil
}
