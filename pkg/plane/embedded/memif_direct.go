// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"fmt"
	"os"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// directEnd is one end of a memif that two pods of this node have in common, a
// slave that connects to us and a master that we connect it to. They share
// memory: nothing is counted, because no packet passes here, and the MTU is the
// pods' own affair, as in the stock forwarder.
type directEnd struct {
	direct *direct
	side   int
}

type direct struct {
	relay *memif.Relay
	files [2]*os.File // of the pods' namespaces, as far as they are needed
}

// direct tells whether the pods of two ports can be led to each other: one has to
// listen, and the other to dial.
func (p *Plane) direct(a, b plane.Port) (ports [2]plane.Memif, ok bool) {
	client, ok1 := a.(plane.Memif)
	endpoint, ok2 := b.(plane.Memif)
	return [2]plane.Memif{client, endpoint}, ok1 && ok2 && client.Master != endpoint.Master && !p.throughWorkers
}

// newDirect makes both ends.
func newDirect(p *Plane, c *plane.Connection, ports [2]plane.Memif) (ends [2]end, err error) {
	d := &direct{}
	defer func() {
		if err != nil {
			d.release()
			err = fmt.Errorf("%s to %s: %w", ports[0], ports[1], err)
		}
	}()
	var at, to memif.Address
	for i, port := range ports {
		if err := p.fault("namespace"); err != nil {
			return ends, err
		}
		a, file, err := memifAddress(port)
		if err != nil {
			return ends, err
		}
		d.files[i] = file
		if port.Master {
			at = a
		} else {
			to = a
		}
	}
	if err := p.fault("relay"); err != nil {
		return ends, err
	}
	d.relay, err = memif.NewRelay(at, to, func(why error) { p.logf("connection %s: direct memif: %v", c.ID, why) })
	if err != nil {
		return ends, err
	}
	return [2]end{&directEnd{d, 0}, &directEnd{d, 1}}, nil
}

func (d *direct) release() {
	for _, f := range d.files {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (d *directEnd) connect(context.Context, end) error { return nil }

func (d *directEnd) disconnect() {}

func (d *directEnd) close() error {
	if d.side != 0 {
		return nil
	}
	err := d.direct.relay.Close()
	d.direct.release()
	return err
}

func (*directEnd) count() plane.Counters { return plane.Counters{} }
