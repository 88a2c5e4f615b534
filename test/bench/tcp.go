// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// measureTCP sends with iperf3 from the client pod to the server pod, and
// returns what the server received, in bit/s.
func measureTCP(ctx context.Context, p *path, streams int, d time.Duration) (values, error) {
	if err := require("iperf3"); err != nil {
		return nil, err
	}
	server, err := lab.Background(p.server.ns, "iperf3", "-s", "-B", p.server.addr.String())
	if err != nil {
		return nil, err
	}
	defer server.Kill()
	ctx, cancel := context.WithTimeout(ctx, d+15*time.Second)
	defer cancel()
	var result struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			Sent struct {
				Retransmits float64
			} `json:"sum_sent"`
		}
		Error string
	}
	// Until the server listens, iperf3 says so and succeeds.
	err = await(ctx, "iperf3 is served", func() bool {
		var out string
		out, err = lab.Run(ctx, p.client.ns, "iperf3", "-J", "-O", "1", "-t", fmt.Sprint(max(1, int(d.Seconds()))), "-P", fmt.Sprint(streams),
			"-c", p.server.addr.String())
		if err == nil {
			err = json.Unmarshal([]byte(out), &result)
		}
		return err == nil && result.End.Received.BitsPerSecond > 0
	})
	if err != nil {
		return nil, fmt.Errorf("%w %s", err, result.Error)
	}
	return values{"Gbit/s": result.End.Received.BitsPerSecond / 1e9, "retransmits": result.End.Sent.Retransmits}, nil
}

// congestionControl is what the kernel gives to TCP connections.
func congestionControl() string {
	name, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(name))
}
