// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

//go:embed policies
var builtIn embed.FS

// The built-in file policies/x is known to users as etc/nsm/opa/x.
const (
	embeddedDir = "policies"
	policiesDir = "etc/nsm/opa"
)

// decisionRule is the rule that decides in policies from files.
const decisionRule = "valid"

// PolicyFromFile returns the policy of the file at p: on disk, or else built in.
func PolicyFromFile(p string) (*AuthorizationPolicy, error) {
	source, err := os.ReadFile(filepath.Clean(p))
	if err != nil {
		embedded, embeddedErr := builtIn.ReadFile(embeddedPath(p))
		if embeddedErr != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		source = embedded
	}
	return WithNamedPolicyFromSource(p, string(source), decisionRule, True), nil
}

// embeddedPath returns the path within builtIn of a file that users call p.
func embeddedPath(p string) string {
	p = strings.TrimPrefix(filepath.ToSlash(filepath.Clean(p)), "/")
	return strings.Replace(p, policiesDir, embeddedDir, 1)
}

// PoliciesByFileMask returns the policies of all files, on disk and built in,
// whose whole path one of the masks matches; masks are regular expressions. A
// mask that matches nothing is no error.
func PoliciesByFileMask(masks ...string) ([]*AuthorizationPolicy, error) {
	var policies []*AuthorizationPolicy
	for _, mask := range masks {
		paths, err := match(mask)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			policy, err := PolicyFromFile(path)
			if err != nil {
				return nil, err
			}
			policies = append(policies, policy)
		}
	}
	return policies, nil
}

func match(mask string) ([]string, error) {
	pattern, err := regexp.Compile("^(?:" + mask + ")$")
	if err != nil {
		return nil, fmt.Errorf("policy mask %q: %w", mask, err)
	}
	found := make(map[string]struct{})
	take := func(path string) {
		if pattern.MatchString(path) {
			found[path] = struct{}{}
		}
	}
	if info, err := os.Stat(mask); err == nil && info.Mode().IsRegular() {
		found[mask] = struct{}{} // a plain path, whatever its letters mean in a pattern
	}
	// A folder that is missing or closed to us has no policies for us.
	_ = filepath.WalkDir(fixedDir(mask), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			take(path)
		}
		return nil
	})
	err = fs.WalkDir(builtIn, embeddedDir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			relative := policiesDir + strings.TrimPrefix(path, embeddedDir)
			take(relative)
			take("/" + relative)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list built-in policies: %w", err)
	}
	paths := make([]string, 0, len(found))
	for path := range found {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	return paths, nil
}

// fixedDir returns the folder that all paths matching mask are in.
func fixedDir(mask string) string {
	fixed := mask
	if i := strings.IndexAny(mask, `\.+*?()|[]{}^$`); i >= 0 {
		fixed = mask[:i]
	}
	return filepath.Dir(fixed + "x")
}
