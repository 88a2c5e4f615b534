// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// modules are the paths of a kernel's modules by name, in which there are
// underscores for hyphens.
type modules map[string]string

func findModules(dir string) (modules, error) {
	found := modules{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".ko" && e.Type().IsRegular() {
			found[moduleName(filepath.Base(path))] = path
		}
		return err
	})
	return found, err
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(file, ".ko"), "-", "_")
}

// load returns the paths of the modules with those that they depend on, each
// after its dependencies.
func (m modules) load(names ...string) ([]string, error) {
	var order []string
	for _, name := range names {
		path, ok := m[moduleName(name)]
		if !ok {
			return nil, fmt.Errorf("the kernel's package has no module %s; run make deps", name)
		}
		depends, err := dependencies(path)
		if err != nil {
			return nil, err
		}
		first, err := m.load(depends...)
		if err != nil {
			return nil, err
		}
		for _, p := range append(first, path) {
			if !slices.Contains(order, p) {
				order = append(order, p)
			}
		}
	}
	return order, nil
}

// dependencies reads the names in a module's section .modinfo, which is
// key=value strings that end with a zero.
func dependencies(path string) ([]string, error) {
	object, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	defer func() { _ = object.Close() }()
	section := object.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module %s: no section .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if names, ok := bytes.CutPrefix(entry, []byte("depends=")); ok && len(names) > 0 {
			return strings.Split(string(names), ","), nil
		}
	}
	return nil, nil
}
