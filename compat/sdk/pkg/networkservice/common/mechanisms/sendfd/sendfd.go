// SPDX-License-Identifier: Apache-2.0

// Package sendfd sends the files of mechanisms, such as the network namespace
// of a pod, beside the gRPC call. The parameter inodeURL with file://<path>
// becomes inode://<dev>/<ino>; the other side receives it with package recvfd.
package sendfd

import (
	"net/url"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

	"github.com/networkservicemesh/sdk/pkg/internal/fdpass"
)

// sent are the file URLs of what was sent, by inode URL.
type sent map[string]string

// toInode sends the file of mechanism, if it names one.
func (s sent) toInode(to grpcfd.FDSender, mechanism *networkservice.Mechanism) error {
	fileURL := mechanism.GetParameters()[common.InodeURL]
	u, err := url.Parse(fileURL)
	if err != nil || u.Scheme != "file" {
		return nil //nolint:nilerr // whatever it is, it is no file
	}
	inodeURL, err := fdpass.Send(to, u.Path)
	if err != nil {
		return err
	}
	mechanism.Parameters[common.InodeURL] = inodeURL
	s[inodeURL] = fileURL
	return nil
}

// toFile undoes toInode.
func (s sent) toFile(mechanism *networkservice.Mechanism) {
	if fileURL, ok := s[mechanism.GetParameters()[common.InodeURL]]; ok {
		mechanism.Parameters[common.InodeURL] = fileURL
	}
}
