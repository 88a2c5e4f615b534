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

// Classifier is the part of classifier.Classifier that connections need.
// Pinholes are reference-counted: each Open wants one
// ClosePinhole.
type Classifier interface {
	Open(p classifier.Pinhole) error
	ClosePinhole(p classifier.Pinhole) error
}

type key struct{}

// wanted is the pinhole that a port needs, if it needs one. A VXLAN port wants
// its own VNI only, so that others on the same port stay with Linux.
func wanted(p plane.Port) (classifier.Pinhole, bool) {
	switch p := p.(type) {
	case plane.VXLAN:
		return classifier.Pinhole{Addr: p.Local, Port: p.LocalPort, VNI: int32(p.VNI)}, true
	case plane.WireGuard:
		return classifier.Pinhole{Addr: p.Local.Addr(), Port: p.Local.Port(), VNI: classifier.AnyVNI}, true
	default:
		return classifier.Pinhole{}, false
	}
}

// open makes the pinhole of one side's port be the one that is open: it opens
// what is missing first and closes what is left over after.
func open(ctx context.Context, c Classifier, isClient bool) error {
	m := metadata.Map(ctx, isClient)
	p, _ := port.Load(ctx, isClient)
	want, needed := wanted(p)
	old, had := m.Load(key{})
	if needed && had && old == want {
		return nil
	}
	if needed {
		if err := c.Open(want); err != nil {
			return fmt.Errorf("open a pinhole for %s: %w", p, err)
		}
		m.Store(key{}, want)
	} else {
		m.Delete(key{})
	}
	if !had {
		return nil
	}
	return c.ClosePinhole(old.(classifier.Pinhole))
}

// shut closes the pinhole of one side, if one is open.
func shut(ctx context.Context, c Classifier, isClient bool) error {
	old, had := metadata.Map(ctx, isClient).LoadAndDelete(key{})
	if !had {
		return nil
	}
	return c.ClosePinhole(old.(classifier.Pinhole))
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
