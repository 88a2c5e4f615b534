// SPDX-License-Identifier: Apache-2.0

package log

// Empty returns a logger that writes nothing. Its Fatal does not end the
// process.
func Empty() Logger { return empty{} }

type empty struct{}

func (empty) Info(...interface{})           {}
func (empty) Infof(string, ...interface{})  {}
func (empty) Warn(...interface{})           {}
func (empty) Warnf(string, ...interface{})  {}
func (empty) Error(...interface{})          {}
func (empty) Errorf(string, ...interface{}) {}
func (empty) Fatal(...interface{})          {}
func (empty) Fatalf(string, ...interface{}) {}
func (empty) Debug(...interface{})          {}
func (empty) Debugf(string, ...interface{}) {}
func (empty) Trace(...interface{})          {}
func (empty) Tracef(string, ...interface{}) {}
func (empty) Object(_, _ interface{})       {}

func (empty) WithField(_, _ interface{}) Logger { return empty{} }
