// SPDX-License-Identifier: Apache-2.0

// Package pinhole opens the classifier for a connection's tunnel while the
// connection lives, and for no other frame.
package pinhole

import (
	"context"
	"errors"
	"fmt"

	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Classifier is the part of classifier.Classifier that connections need. Both
// pinholes and VLAN ids are reference-counted: each Open wants one ClosePinhole,
// each OpenVLAN one CloseVLAN.
type Classifier interface {
	Open(p classifier.Pinhole) error
	ClosePinhole(p classifier.Pinhole) error
	OpenVLAN(id uint16) error
	CloseVLAN(id uint16) error
}

type key struct{}

// opening is what a port needs of the classifier. Openings are comparable.
type opening interface {
	open(c Classifier) error
	shut(c Classifier) error
}

type datagrams struct{ classifier.Pinhole }

func (d datagrams) open(c Classifier) error { return c.Open(d.Pinhole) }
func (d datagrams) shut(c Classifier) error { return c.ClosePinhole(d.Pinhole) }

type tagged struct{ id uint16 }

func (t tagged) open(c Classifier) error { return c.OpenVLAN(t.id) }
func (t tagged) shut(c Classifier) error { return c.CloseVLAN(t.id) }

// wanted is the opening that a port needs, nil for none. A VXLAN port wants its
// own VNI only, so that others on the same port stay with Linux. The classifier
// is on the plane's own uplink: VLANs of other devices never pass it.
func wanted(p plane.Port) opening {
	switch p := p.(type) {
	case plane.VXLAN:
		return datagrams{classifier.Pinhole{Addr: p.Local, Port: p.LocalPort, VNI: int32(p.VNI)}}
	case plane.WireGuard:
		return datagrams{classifier.Pinhole{Addr: p.Local.Addr(), Port: p.Local.Port(), VNI: classifier.AnyVNI}}
	case plane.VLAN:
		if p.Uplink == "" {
			return tagged{p.ID}
		}
	}
	return nil
}

// open makes the pinhole of one side's port be the one that is open: it opens
// what is missing first and closes what is left over after.
func open(ctx context.Context, c Classifier, isClient bool) error {
	m := metadata.Map(ctx, isClient)
	p, _ := port.Load(ctx, isClient)
	want := wanted(p)
	old, had := m.Load(key{})
	if want != nil && had && old == want {
		return nil
	}
	if want != nil {
		if err := want.open(c); err != nil {
			return fmt.Errorf("open a pinhole for %s: %w", p, err)
		}
		m.Store(key{}, want)
	} else {
		m.Delete(key{})
	}
	if !had {
		return nil
	}
	return old.(opening).shut(c)
}

// shut closes the pinhole of one side, if one is open.
func shut(ctx context.Context, c Classifier, isClient bool) error {
	old, had := metadata.Map(ctx, isClient).LoadAndDelete(key{})
	if !had {
		return nil
	}
	return old.(opening).shut(c)
}

// openBoth opens both sides, or none.
func openBoth(ctx context.Context, c Classifier) error {
	if err := open(ctx, c, true); err != nil {
		return err
	}
	if err := open(ctx, c, false); err != nil {
		return errors.Join(err, shut(ctx, c, true))
	}
	return nil
}

func shutBoth(ctx context.Context, c Classifier) error {
	return errors.Join(shut(ctx, c, true), shut(ctx, c, false))
}
