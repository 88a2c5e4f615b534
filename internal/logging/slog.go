// SPDX-License-Identifier: Apache-2.0

// Package logging lets packages that log with log/slog share the output, format
// and level of the process's logrus logger, which the SDK logs to.
package logging

import (
	"context"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// NewSlog returns a logger that writes to l.
func NewSlog(l *logrus.Logger) *slog.Logger { return slog.New(&handler{logger: l}) }

type handler struct {
	logger *logrus.Logger
	fields logrus.Fields
	group  string
}

func level(l slog.Level) logrus.Level {
	switch {
	case l >= slog.LevelError:
		return logrus.ErrorLevel
	case l >= slog.LevelWarn:
		return logrus.WarnLevel
	case l >= slog.LevelInfo:
		return logrus.InfoLevel
	default:
		return logrus.DebugLevel
	}
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return h.logger.IsLevelEnabled(level(l))
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	fields := h.copyFields(r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		fields[h.group+a.Key] = a.Value.Resolve().Any()
		return true
	})
	h.logger.WithTime(r.Time).WithFields(fields).Log(level(r.Level), r.Message)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := h.copyFields(len(attrs))
	for _, a := range attrs {
		fields[h.group+a.Key] = a.Value.Resolve().Any()
	}
	return &handler{logger: h.logger, fields: fields, group: h.group}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{logger: h.logger, fields: h.fields, group: h.group + name + "."}
}

func (h *handler) copyFields(more int) logrus.Fields {
	fields := make(logrus.Fields, len(h.fields)+more)
	for k, v := range h.fields {
		fields[k] = v
	}
	return fields
}
