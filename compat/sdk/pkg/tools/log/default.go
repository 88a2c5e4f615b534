// SPDX-License-Identifier: Apache-2.0

package log

import (
	"encoding/json"
	"fmt"
	stdlog "log"
	"os"
)

// Default returns a logger on top of the standard library's, without debug
// and trace lines.
func Default() Logger { return standard{} }

// IsDefault says whether logger is one of those that Default returns.
func IsDefault(logger Logger) bool {
	_, ok := logger.(standard)
	return ok
}

// standard holds the fields as they are written in front of each line.
type standard struct{ fields string }

func (s standard) line(level, text string) {
	_ = stdlog.Output(3, "["+level+"] "+s.fields+text)
}

func (s standard) Info(v ...interface{})                  { s.line("INFO", fmt.Sprint(v...)) }
func (s standard) Infof(format string, v ...interface{})  { s.line("INFO", fmt.Sprintf(format, v...)) }
func (s standard) Warn(v ...interface{})                  { s.line("WARN", fmt.Sprint(v...)) }
func (s standard) Warnf(format string, v ...interface{})  { s.line("WARN", fmt.Sprintf(format, v...)) }
func (s standard) Error(v ...interface{})                 { s.line("ERROR", fmt.Sprint(v...)) }
func (s standard) Errorf(format string, v ...interface{}) { s.line("ERROR", fmt.Sprintf(format, v...)) }
func (s standard) Debug(...interface{})                   {}
func (s standard) Debugf(string, ...interface{})          {}
func (s standard) Trace(...interface{})                   {}
func (s standard) Tracef(string, ...interface{})          {}

func (s standard) Fatal(v ...interface{}) {
	s.line("FATAL", fmt.Sprint(v...))
	os.Exit(1)
}

func (s standard) Fatalf(format string, v ...interface{}) {
	s.line("FATAL", fmt.Sprintf(format, v...))
	os.Exit(1)
}

func (s standard) Object(k, v interface{}) { s.line("INFO", fmt.Sprintf("%v=%s", k, encode(v))) }

func (s standard) WithField(key, value interface{}) Logger {
	return standard{fields: fmt.Sprintf("%s[%v:%v] ", s.fields, key, value)}
}

func encode(v interface{}) string {
	if text, err := json.Marshal(v); err == nil {
		return string(text)
	}
	return fmt.Sprint(v)
}
