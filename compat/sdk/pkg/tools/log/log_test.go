// SPDX-License-Identifier: Apache-2.0

package log_test

import (
	"bytes"
	stdlog "log"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/log/logruslogger"
)

func TestTheLoggerOfAContext(t *testing.T) {
	require.True(t, log.IsDefault(log.FromContext(t.Context())))
	log.SetGlobalLogger(log.Empty())
	t.Cleanup(func() { log.SetGlobalLogger(log.Default()) })
	require.Equal(t, log.Empty(), log.FromContext(t.Context()))
	require.Equal(t, log.Default(), log.FromContext(log.WithLog(t.Context(), log.Default())))
	require.Equal(t, log.Default(), log.FromContext(log.Join(t.Context(), log.Default())))
	require.Equal(t, t.Context(), log.WithLog(t.Context()))
}

func TestEachLoggerOfACombinationWrites(t *testing.T) {
	var std, out bytes.Buffer
	stdlog.SetOutput(&std)
	logrus.SetOutput(&out)
	t.Cleanup(func() {
		stdlog.SetOutput(os.Stderr)
		logrus.SetOutput(os.Stderr)
	})
	ctx := log.Join(log.WithLog(t.Context(), log.Default()), logruslogger.New(t.Context(), logrus.Fields{"cmd": "test"}))
	logger := log.FromContext(ctx).WithField("key", "value")
	logger.Infof("%d apples", 3)
	logger.Warn("ripe")
	logger.Object("box", map[string]int{"size": 1})
	logger.Debug("not shown")
	logger.Trace("not shown")
	for _, buffer := range []*bytes.Buffer{&std, &out} {
		text := buffer.String()
		require.Contains(t, text, "3 apples")
		require.Contains(t, text, "ripe")
		require.Regexp(t, `box=\{\\?"size\\?":1\}`, text)
		require.Regexp(t, `key[:=]value`, text)
		require.NotContains(t, text, "not shown")
	}
	require.Contains(t, out.String(), "cmd=test")
}

func TestSignalsChangeTheLevel(t *testing.T) {
	before := logrus.GetLevel()
	t.Cleanup(func() { logrus.SetLevel(before) })
	logruslogger.SetupLevelChangeOnSignal(t.Context(), map[os.Signal]logrus.Level{syscall.SIGUSR1: logrus.TraceLevel})
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	require.Eventually(t, func() bool { return logrus.GetLevel() == logrus.TraceLevel }, 10*time.Second, time.Millisecond)
}
