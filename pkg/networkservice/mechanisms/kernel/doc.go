// SPDX-License-Identifier: Apache-2.0

// Package kernel negotiates the KERNEL mechanism: an interface of the Linux
// kernel in the network namespace of a pod on this node.
//
// The namespace travels as a file descriptor beside the request (recvfd and
// sendfd of the SDK); here it is already a path in our own /proc.
package kernel

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// newPort turns the mechanism's parameters into the port that they describe.
func newPort(mechanism *kernelmech.Mechanism, alias string) (plane.Kernel, error) {
	name := mechanism.GetInterfaceName()
	if err := validName(name); err != nil {
		return plane.Kernel{}, err
	}
	u, err := url.Parse(mechanism.GetNetNSURL())
	switch {
	case err != nil:
		return plane.Kernel{}, fmt.Errorf("kernel mechanism: network namespace: %w", err)
	case mechanism.GetNetNSURL() == "":
		return plane.Kernel{}, errors.New("kernel mechanism: no network namespace given (parameter inodeURL)")
	case u.Scheme != kernelmech.NetNSURLScheme:
		return plane.Kernel{}, fmt.Errorf("kernel mechanism: network namespace %s: its file descriptor was not received", u)
	}
	dev, ino, err := netns.Identity(u.Path)
	if err != nil {
		return plane.Kernel{}, fmt.Errorf("kernel mechanism: %w", err)
	}
	return plane.Kernel{NetNS: u.Path, Device: dev, Inode: ino, Name: name, Alias: alias}, nil
}

// validName applies the kernel's own rules (dev_valid_name in net/core/dev.c).
func validName(name string) error {
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("kernel mechanism: %q is no interface name", name)
	}
	if len(name) > kernelmech.LinuxIfMaxLength {
		return fmt.Errorf("kernel mechanism: interface name %q has %d bytes, the kernel takes at most %d",
			name, len(name), kernelmech.LinuxIfMaxLength)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == '/' || c == ':' || c > '~' {
			return fmt.Errorf("kernel mechanism: interface name %q has a character that the kernel does not allow", name)
		}
	}
	return nil
}

// endpointName is the name that we propose to an endpoint for its interface: the
// beginning of the service's name and a hash of the hops before us. After a
// restart of ours it is the same again, so that the interface can be taken over;
// another attempt of the client comes over hops with other ids and gets another
// name, in case that the first was taken.
func endpointName(conn *networkservice.Connection) string {
	const suffix = 5
	hash := sha256.New()
	for i, segment := range conn.GetPath().GetPathSegments() {
		if i > 1 {
			break // our own segment, or one behind us
		}
		_, _ = fmt.Fprintln(hash, segment.GetId())
	}
	service := strings.Map(func(c rune) rune {
		if c <= ' ' || c == '/' || c == ':' || c == '%' || c > '~' {
			return '-'
		}
		return c
	}, conn.GetNetworkService())
	service = service[:min(len(service), kernelmech.LinuxIfMaxLength-suffix-1)]
	return service + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(hash.Sum(nil))[:suffix])
}
