// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"gopkg.in/yaml.v3"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/tools/fs"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// watchPolicies returns a function for the policy routes that the file lists at the
// moment. A file that does not parse leaves them as they were; none means no routes.
// The file may come and go, but its folder must be there from the beginning.
func watchPolicies(ctx context.Context, path string) func() []*networkservice.PolicyRoute {
	var current atomic.Pointer[[]*networkservice.PolicyRoute]
	current.Store(new([]*networkservice.PolicyRoute))
	get := func() []*networkservice.PolicyRoute { return *current.Load() }
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return get
	}
	follow := func(content []byte) {
		routes, err := parsePolicies(content)
		if err != nil {
			log.FromContext(ctx).Errorf("read policy routes from %s: %v", path, err)
			return
		}
		current.Store(&routes)
	}
	contents := fs.WatchFile(ctx, path)
	follow(<-contents)
	go func() {
		for content := range contents {
			follow(content)
		}
	}()
	return get
}

// parsePolicies reads a YAML list with the keys from, proto, dstport, srcport and routes
// (prefix, nexthop).
func parsePolicies(content []byte) (routes []*networkservice.PolicyRoute, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&routes); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return routes, nil
}
