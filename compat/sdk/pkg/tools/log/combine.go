// SPDX-License-Identifier: Apache-2.0

package log

// Combine returns a logger that writes to all of s.
func Combine(s ...Logger) Logger { return group(s) }

type group []Logger

func (g group) each(f func(Logger)) {
	for _, logger := range g {
		f(logger)
	}
}

func (g group) Info(v ...interface{})  { g.each(func(l Logger) { l.Info(v...) }) }
func (g group) Warn(v ...interface{})  { g.each(func(l Logger) { l.Warn(v...) }) }
func (g group) Error(v ...interface{}) { g.each(func(l Logger) { l.Error(v...) }) }
func (g group) Debug(v ...interface{}) { g.each(func(l Logger) { l.Debug(v...) }) }
func (g group) Trace(v ...interface{}) { g.each(func(l Logger) { l.Trace(v...) }) }
func (g group) Object(k, v interface{}) {
	g.each(func(l Logger) { l.Object(k, v) })
}

func (g group) Infof(f string, v ...interface{})  { g.each(func(l Logger) { l.Infof(f, v...) }) }
func (g group) Warnf(f string, v ...interface{})  { g.each(func(l Logger) { l.Warnf(f, v...) }) }
func (g group) Errorf(f string, v ...interface{}) { g.each(func(l Logger) { l.Errorf(f, v...) }) }
func (g group) Debugf(f string, v ...interface{}) { g.each(func(l Logger) { l.Debugf(f, v...) }) }
func (g group) Tracef(f string, v ...interface{}) { g.each(func(l Logger) { l.Tracef(f, v...) }) }

// The first Fatal that ends the process hides the others' line, so all but
// the last write it as an error.
func (g group) Fatal(v ...interface{}) {
	for i, logger := range g {
		if i < len(g)-1 {
			logger.Error(v...)
			continue
		}
		logger.Fatal(v...)
	}
}

func (g group) Fatalf(f string, v ...interface{}) {
	for i, logger := range g {
		if i < len(g)-1 {
			logger.Errorf(f, v...)
			continue
		}
		logger.Fatalf(f, v...)
	}
}

func (g group) WithField(key, value interface{}) Logger {
	with := make(group, len(g))
	for i, logger := range g {
		with[i] = logger.WithField(key, value)
	}
	return with
}
