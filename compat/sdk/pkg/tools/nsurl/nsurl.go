// SPDX-License-Identifier: Apache-2.0

// Package nsurl reads the URL by which a user asks for a network service:
// mechanism://service[@domain]/interface?label=value.
package nsurl

import (
	"net/url"
	"strings"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
)

// NSURL is the URL of a network service.
type NSURL url.URL

// Mechanism returns the local mechanism that the scheme names, with the first
// element of the path as the interface's name, or nil without a scheme.
func (n *NSURL) Mechanism() *networkservice.Mechanism {
	if n.Scheme == "" {
		return nil
	}
	m := &networkservice.Mechanism{
		Cls:        cls.LOCAL,
		Type:       strings.ToUpper(n.Scheme),
		Parameters: make(map[string]string),
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(n.Path, "/"), "/")
	if name != "" {
		m.Parameters[common.InterfaceNameKey] = name
	}
	return m
}

// Labels returns the query as labels; of a repeated one the first value.
func (n *NSURL) Labels() map[string]string {
	labels := make(map[string]string)
	for key, values := range (*url.URL)(n).Query() {
		labels[key] = values[0]
	}
	return labels
}

// NetworkService returns the name of the service, with its domain if it has
// one.
func (n *NSURL) NetworkService() string {
	if user := n.User.Username(); user != "" {
		return user + "@" + (*url.URL)(n).Hostname()
	}
	return (*url.URL)(n).Hostname()
}
