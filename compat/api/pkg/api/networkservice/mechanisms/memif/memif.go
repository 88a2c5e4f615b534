// SPDX-License-Identifier: Apache-2.0

// Package memif is the mechanism that gives a pod a shared-memory packet interface.
package memif

import (
	"net/url"

	"github.com/networkservicemesh/api/internal/param"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
)

const (
	// MECHANISM is the type of the mechanism.
	MECHANISM = "MEMIF"

	// SocketFilename is the name of an abstract control socket; a leading '@' stands
	// for its zero byte.
	SocketFilename = "socketfile"
	// NetNSURL is the network namespace of an abstract socket.
	NetNSURL = common.InodeURL
	// SocketFileURL is a control socket in the file system. It is the same parameter
	// as NetNSURL: a mechanism has one or the other.
	SocketFileURL = common.InodeURL
	// FileScheme is the scheme of either URL within a process.
	FileScheme = "file"
)

// Mechanism gives access to the parameters of a memif mechanism. Its methods may be
// called on nil.
type Mechanism struct {
	*networkservice.Mechanism
}

// New returns a memif mechanism with a control socket at socketPath.
func New(socketPath string) *networkservice.Mechanism { return local(SocketFileURL, socketPath) }

// NewAbstract returns a memif mechanism with an abstract control socket in the
// network namespace at netNSPath.
func NewAbstract(netNSPath string) *networkservice.Mechanism { return local(NetNSURL, netNSPath) }

func local(key, path string) *networkservice.Mechanism {
	file := url.URL{Scheme: FileScheme, Path: path}
	return &networkservice.Mechanism{
		Cls:        cls.LOCAL,
		Type:       MECHANISM,
		Parameters: map[string]string{key: file.String()},
	}
}

// ToMechanism wraps m, nil when it is of another type.
func ToMechanism(m *networkservice.Mechanism) *Mechanism {
	if m.GetType() != MECHANISM {
		return nil
	}
	return &Mechanism{Mechanism: m}
}

// GetParameters returns the parameters, never nil.
func (m *Mechanism) GetParameters() map[string]string { return m.params() }

// GetSocketFilename returns the name of the abstract socket.
func (m *Mechanism) GetSocketFilename() string { return m.params()[SocketFilename] }

// SetSocketFilename sets the name of the abstract socket.
func (m *Mechanism) SetSocketFilename(filename string) { m.params()[SocketFilename] = filename }

// GetNetNSURL returns the network namespace of the abstract socket.
func (m *Mechanism) GetNetNSURL() string { return m.params()[NetNSURL] }

// SetNetNSURL sets the network namespace of the abstract socket.
func (m *Mechanism) SetNetNSURL(urlString string) { m.params()[NetNSURL] = urlString }

// GetSocketFileURL returns the URL of the socket in the file system.
func (m *Mechanism) GetSocketFileURL() string { return m.params()[SocketFileURL] }

// SetSocketFileURL sets the URL of the socket in the file system.
func (m *Mechanism) SetSocketFileURL(urlString string) { m.params()[SocketFileURL] = urlString }

func (m *Mechanism) params() param.Set {
	if m == nil {
		return param.Set{}
	}
	return param.Of(m.Mechanism)
}
