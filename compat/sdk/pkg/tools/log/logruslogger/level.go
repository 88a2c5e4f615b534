// SPDX-License-Identifier: Apache-2.0

package logruslogger

import (
	"context"
	"os"
	"os/signal"

	"github.com/sirupsen/logrus"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// SetupLevelChangeOnSignal sets the level of logrus' standard logger to that of
// a received signal, until ctx ends.
func SetupLevelChangeOnSignal(ctx context.Context, signals map[os.Signal]logrus.Level) {
	watched := make([]os.Signal, 0, len(signals))
	for s := range signals {
		watched = append(watched, s)
	}
	if len(watched) == 0 {
		return // signal.Notify without a list would take every signal
	}
	received := make(chan os.Signal, 1)
	signal.Notify(received, watched...)
	go func() {
		defer signal.Stop(received)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-received:
				log.FromContext(ctx).Infof("signal %v: log level is %v", s, signals[s])
				logrus.SetLevel(signals[s])
			}
		}
	}()
}
