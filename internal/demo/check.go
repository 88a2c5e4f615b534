// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/status"
)

// checkCounters makes sure that what was pinged went the way it should: both ends
// of each tunnel counted the pings and their answers, and where the embedded plane
// runs, the classifiers redirected them.
func (d *demo) checkCounters(statuses []*status.Status) error {
	step := d.step("both ends of every tunnel counted the pings")
	tunnels := make([]uint64, len(statuses))
	err := func() error {
		for _, k := range d.links {
			for i, s := range statuses {
				if k.Local() || k.VLAN != 0 && i > 0 {
					continue
				}
				tunnels[i]++
				if err := checkTunnel(s, k); err != nil {
					return err
				}
			}
		}
		return nil
	}()
	if err := step.end(err); err != nil {
		return err
	}
	for i, s := range statuses {
		if s.Plane != "embedded" || tunnels[i] == 0 {
			continue
		}
		step := d.step(fmt.Sprintf("the tunnels' frames to node %d took its AF_XDP sockets", i+1))
		if err := step.end(checkRedirected(s, tunnels[i]*2*pings)); err != nil {
			return err
		}
	}
	return nil
}

func checkRedirected(s *status.Status, want uint64) error {
	var redirected uint64
	for _, c := range s.Counters {
		if c.Verdict == "redirect" {
			redirected += c.Packets
		}
	}
	if redirected < want {
		return fmt.Errorf("%s: the classifier redirected %d frames, want at least %d", s.Name, redirected, want)
	}
	return nil
}

// checkTunnel looks at the tunnel of a use case at one of its ends.
func checkTunnel(s *status.Status, k *lab.Linked) error {
	l, err := linkOf(s, k)
	if err != nil {
		return err
	}
	if l == nil {
		return fmt.Errorf("%s: no link of %s", s.Name, k.Name)
	}
	for _, p := range []status.Port{l.Client, l.Endpoint} {
		if p.Kind != string(k.Tunnel) {
			continue
		}
		if p.Counters.RxPackets < 2*pings || p.Counters.TxPackets < 2*pings {
			return fmt.Errorf("%s: %s received %d and sent %d packets, want at least %d each",
				s.Name, p.Description, p.Counters.RxPackets, p.Counters.TxPackets, 2*pings)
		}
		return nil
	}
	return fmt.Errorf("%s: no %s port in the link of %s", s.Name, k.Tunnel, k.Name)
}

// linkOf finds the link of a use case on a node, by the pod behind it, or nil.
func linkOf(s *status.Status, k *lab.Linked) (*status.Link, error) {
	for _, w := range k.Ways() {
		_, inode, err := netns.Identity(w.From.Path)
		if err != nil {
			return nil, err
		}
		for i := range s.Links {
			if l := &s.Links[i]; l.Client.NetNS == inode || l.Endpoint.NetNS == inode {
				return l, nil
			}
		}
	}
	return nil, nil
}
