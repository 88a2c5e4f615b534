// SPDX-License-Identifier: Apache-2.0

package traceverbose

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Diff returns the fields in which newMessage differs from oldMessage, by name:
// nested messages as maps of the same kind, anything else as "old -> new". The
// bool says whether there is any difference.
func Diff(oldMessage, newMessage protoreflect.Message) (map[string]interface{}, bool) {
	changes := make(map[string]interface{})
	if !oldMessage.IsValid() && !newMessage.IsValid() {
		return changes, false
	}
	if oldMessage.Descriptor() != newMessage.Descriptor() {
		changes["message"] = fmt.Sprintf("%s -> %s", oldMessage.Descriptor().FullName(), newMessage.Descriptor().FullName())
		return changes, true
	}
	fields := newMessage.Descriptor().Fields()
	for i := 0; i < fields.Len(); i++ {
		field := fields.Get(i)
		was, is := oldMessage.Get(field), newMessage.Get(field)
		if field.Message() != nil && !field.IsList() && !field.IsMap() {
			if inner, differs := Diff(was.Message(), is.Message()); differs {
				changes[string(field.Name())] = inner
			}
			continue
		}
		if !was.Equal(is) {
			changes[string(field.Name())] = fmt.Sprintf("%s -> %s", text(was, field), text(is, field))
		}
	}
	return changes, len(changes) > 0
}

// text writes a field's value: lists and maps do not print themselves.
func text(value protoreflect.Value, field protoreflect.FieldDescriptor) string {
	switch {
	case field.IsList():
		list := value.List()
		items := make([]interface{}, list.Len())
		for i := range items {
			items[i] = list.Get(i).Interface()
		}
		return fmt.Sprint(items)
	case field.IsMap():
		items := make(map[string]interface{}, value.Map().Len())
		value.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			items[k.String()] = v.Interface()
			return true
		})
		return fmt.Sprint(items)
	default:
		return fmt.Sprint(value.Interface())
	}
}
