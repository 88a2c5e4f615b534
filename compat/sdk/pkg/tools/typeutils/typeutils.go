// SPDX-License-Identifier: Apache-2.0

// Package typeutils names chain elements for logs and traces.
package typeutils

import (
	"reflect"
	"strings"
)

// GetFuncName returns package/type.method of a method of value.
func GetFuncName(value interface{}, methodName string) string {
	t := reflect.TypeOf(value)
	if t == nil {
		return methodName
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	path := strings.TrimPrefix(t.PkgPath(), "github.com/networkservicemesh/")
	return path + "/" + t.Name() + "." + methodName
}
