// SPDX-License-Identifier: Apache-2.0

// Package kernel offers and serves the KERNEL mechanism for this process: it
// names the interface, and the network namespace of the calling thread.
package kernel

import (
	"fmt"

	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/networkservicemesh/sdk/pkg/tools/nanoid"
)

// ownNetNS is the namespace of whoever opens it.
const ownNetNS = "file:///proc/thread-self/ns/net"

// Option changes an element.
type Option func(o *options)

type options struct {
	name     string
	generate func(ns string) (string, error)
}

// WithInterfaceName sets the name for an interface that has none, cut to the
// 15 bytes that Linux allows.
func WithInterfaceName(interfaceName string) Option {
	return func(o *options) {
		if len(interfaceName) > kernelmech.LinuxIfMaxLength {
			interfaceName = interfaceName[:kernelmech.LinuxIfMaxLength]
		}
		o.name = interfaceName
	}
}

// WithInterfaceNameGenerator sets what makes a name of that of the network
// service, for an interface that has none.
func WithInterfaceNameGenerator(generator func(ns string) (string, error)) Option {
	return func(o *options) { o.generate = generator }
}

func apply(opts []Option) options {
	o := options{generate: nanoid.GenerateLinuxInterfaceName}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// fill sets the namespace, and the name unless there is one.
func (o *options) fill(mechanism *kernelmech.Mechanism, networkService string) error {
	mechanism.SetNetNSURL(ownNetNS)
	if mechanism.GetInterfaceName() != "" {
		return nil
	}
	name := o.name
	if name == "" {
		var err error
		if name, err = o.generate(networkService); err != nil {
			return fmt.Errorf("name the interface for %s: %w", networkService, err)
		}
	}
	mechanism.SetInterfaceName(name)
	return nil
}
