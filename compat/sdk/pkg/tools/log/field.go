// SPDX-License-Identifier: Apache-2.0

package log

// Field is a named value that is added to log lines.
type Field struct {
	k string
	v interface{}
}

// NewField returns the field k=v.
func NewField(k string, v interface{}) *Field { return &Field{k: k, v: v} }

// Key returns the name of the field.
func (f *Field) Key() string { return f.k }

// Val returns the value of the field.
func (f *Field) Val() interface{} { return f.v }
