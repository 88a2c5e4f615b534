// SPDX-License-Identifier: Apache-2.0

package upstreamrefresh

import (
	"context"
	"sync"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// Notifier has the other connections of a client refreshed.
type Notifier interface {
	// Notify refreshes all but the connection initiatorID. It does not wait.
	Notify(ctx context.Context, initiatorID string)
}

type notifierKey struct{}

// LoadLocalNotifier returns the notifier that WithLocalNotifications left in
// the metadata, if there is one.
func LoadLocalNotifier(ctx context.Context, isClient bool) (value Notifier, ok bool) {
	stored, _ := metadata.Map(ctx, isClient).Load(notifierKey{})
	value, ok = stored.(Notifier)
	return value, ok
}

type localNotifier struct{ factories sync.Map } // connection id -> begin.EventFactory

func (n *localNotifier) Notify(ctx context.Context, initiatorID string) {
	logger := log.FromContext(ctx)
	n.factories.Range(func(id, factory interface{}) bool {
		if id != initiatorID {
			errCh := factory.(begin.EventFactory).Request()
			go func() {
				if err := <-errCh; err != nil {
					logger.Warnf("upstream refresh: connection %v: %v", id, err)
				}
			}()
		}
		return true
	})
}
