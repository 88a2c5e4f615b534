// SPDX-License-Identifier: Apache-2.0

// Package logruslogger is the log.Logger on top of logrus' standard logger.
package logruslogger

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sirupsen/logrus"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/log/spanlogger"
)

// New returns a logger that adds the given fields to each line. Hooks find ctx
// in the entry.
func New(ctx context.Context, fields ...logrus.Fields) log.Logger {
	entry := logrus.NewEntry(logrus.StandardLogger()).WithContext(ctx)
	for _, f := range fields {
		entry = entry.WithFields(f)
	}
	return logger{entry}
}

// FromSpan returns a logger whose lines carry the name of the operation and the
// id of its span, and a context with it. The returned function ends the
// operation.
func FromSpan(
	ctx context.Context, span spanlogger.Span, operation string, fields []*log.Field) (context.Context, log.Logger, func()) {
	entry := logrus.NewEntry(logrus.StandardLogger()).WithContext(ctx)
	for _, field := range fields {
		entry = entry.WithField(field.Key(), field.Val())
	}
	if span != nil {
		if id := span.ToString(); id != "" {
			entry = entry.WithField("span", id)
		}
	}
	l := logger{entry.WithField("name", operation)}
	return log.WithLog(ctx, l), l, func() {}
}

type logger struct{ entry *logrus.Entry }

func (l logger) Info(v ...interface{})                  { l.entry.Info(v...) }
func (l logger) Infof(format string, v ...interface{})  { l.entry.Infof(format, v...) }
func (l logger) Warn(v ...interface{})                  { l.entry.Warn(v...) }
func (l logger) Warnf(format string, v ...interface{})  { l.entry.Warnf(format, v...) }
func (l logger) Error(v ...interface{})                 { l.entry.Error(v...) }
func (l logger) Errorf(format string, v ...interface{}) { l.entry.Errorf(format, v...) }
func (l logger) Fatal(v ...interface{})                 { l.entry.Fatal(v...) }
func (l logger) Fatalf(format string, v ...interface{}) { l.entry.Fatalf(format, v...) }
func (l logger) Debug(v ...interface{})                 { l.entry.Debug(v...) }
func (l logger) Debugf(format string, v ...interface{}) { l.entry.Debugf(format, v...) }
func (l logger) Trace(v ...interface{})                 { l.entry.Trace(v...) }
func (l logger) Tracef(format string, v ...interface{}) { l.entry.Tracef(format, v...) }

func (l logger) Object(k, v interface{}) {
	if !l.entry.Logger.IsLevelEnabled(logrus.InfoLevel) {
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte(fmt.Sprint(v))
	}
	l.entry.Infof("%v=%s", k, text)
}

func (l logger) WithField(key, value interface{}) log.Logger {
	return logger{l.entry.WithField(fmt.Sprint(key), value)}
}
