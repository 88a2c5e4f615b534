// SPDX-License-Identifier: Apache-2.0

// Package port keeps the two ports of a connection in its metadata, where the
// mechanism elements leave them and xconnect finds them.
package port

import (
	"context"

	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type key struct{}

// Store remembers p as the port of one side of the connection: the client's
// (isClient false: the server half of our chain faces it) or the endpoint's.
func Store(ctx context.Context, isClient bool, p plane.Port) {
	metadata.Map(ctx, isClient).Store(key{}, p)
}

// Load returns the port that Store remembered.
func Load(ctx context.Context, isClient bool) (plane.Port, bool) {
	v, ok := metadata.Map(ctx, isClient).Load(key{})
	if !ok {
		return nil, false
	}
	p, ok := v.(plane.Port)
	return p, ok
}

// Delete forgets the port.
func Delete(ctx context.Context, isClient bool) {
	metadata.Map(ctx, isClient).Delete(key{})
}
