// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"fmt"
	"os"
	"syscall"

	nested "github.com/antonfisher/nested-logrus-formatter"
	"github.com/sirupsen/logrus"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/log/logruslogger"
)

// Logging sets up the process's logger in the format of the mesh, and returns a
// context with it. SIGUSR1 sets the level TRACE and SIGUSR2 the given one, until ctx
// ends.
func Logging(ctx context.Context, name, level string) (context.Context, error) {
	parsed, err := logrus.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("read NSM_LOG_LEVEL=%q: want TRACE, DEBUG, INFO, WARN or ERROR: %w", level, err)
	}
	logrus.SetFormatter(&nested.Formatter{})
	logrus.SetLevel(parsed)
	log.EnableTracing(true)
	logger := logruslogger.New(ctx, logrus.Fields{"cmd": name})
	// For contexts that are not made from this one: those of a gRPC server's calls.
	log.SetGlobalLogger(logger)
	ctx = log.WithLog(ctx, logger)
	logruslogger.SetupLevelChangeOnSignal(ctx, map[os.Signal]logrus.Level{
		syscall.SIGUSR1: logrus.TraceLevel,
		syscall.SIGUSR2: parsed,
	})
	return ctx, nil
}
