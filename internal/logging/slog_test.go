// SPDX-License-Identifier: Apache-2.0

package logging_test

import (
	"bytes"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/logging"
)

func TestSlogWritesToLogrus(t *testing.T) {
	var out bytes.Buffer
	l := logrus.New()
	l.SetOutput(&out)
	l.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
	l.SetLevel(logrus.InfoLevel)

	s := logging.NewSlog(l)
	s.Debug("not shown")
	s.With("interface", "eth0").WithGroup("ring").Warn("full", "size", 2048)

	require.Equal(t, "level=warning msg=full interface=eth0 ring.size=2048\n", out.String())

	l.SetLevel(logrus.DebugLevel)
	out.Reset()
	s.Debug("shown after the level has changed")
	require.Contains(t, out.String(), "level=debug")
}
