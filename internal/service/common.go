// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"time"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// Common is the part of a configuration that every program has. Embed it in the struct
// for Load.
type Common struct {
	LogLevel         string        `default:"INFO" desc:"log level: TRACE, DEBUG, INFO, WARN, ERROR" split_words:"true"`
	MaxTokenLifetime time.Duration `default:"10m" desc:"longest lifetime of a token; a third of it or less passes between refreshes" split_words:"true"`
	Telemetry
}

// Start sets up logging and telemetry and gets the process's identity. The returned
// context logs, and ends with ctx; stop undoes it all.
func (c *Common) Start(ctx context.Context, name string) (_ context.Context, _ *Identity, stop func(), err error) {
	ctx, err = Logging(ctx, name, c.LogLevel)
	if err != nil {
		return nil, nil, nil, err
	}
	stopTelemetry, err := c.Telemetry.Start(ctx, name)
	if err != nil {
		return nil, nil, nil, err
	}
	identity, err := NewIdentity(ctx, c.MaxTokenLifetime)
	if err != nil {
		stopTelemetry()
		return nil, nil, nil, err
	}
	return ctx, identity, func() {
		if err := identity.Close(); err != nil {
			log.FromContext(ctx).Warnf("close identity: %v", err)
		}
		stopTelemetry()
	}, nil
}

// Wait blocks until ctx ends and returns why: nil for a signal or a plain cancel, or
// what a context.CancelCauseFunc such as that of Serve was given.
func Wait(ctx context.Context) error {
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
