// SPDX-License-Identifier: Apache-2.0

// Package recvfd receives the files of mechanisms, such as the network
// namespace of a pod, beside the gRPC call. The parameter inodeURL with
// inode://<dev>/<ino> becomes file:///proc/<pid>/fd/<n>, which can be opened here.
package recvfd

import (
	"context"
	"net/url"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

	"github.com/networkservicemesh/sdk/pkg/internal/fdpass"
)

// toFile receives the file of mechanism, if it names one, and names it by path.
func toFile(ctx context.Context, files *fdpass.Files, mechanism *networkservice.Mechanism, from grpcfd.FDRecver) error {
	inodeURL := mechanism.GetParameters()[common.InodeURL]
	if !fdpass.IsInodeURL(inodeURL) {
		return nil
	}
	path, err := files.Receive(ctx, inodeURL, from)
	if err != nil {
		return err
	}
	mechanism.Parameters[common.InodeURL] = (&url.URL{Scheme: "file", Path: path}).String()
	return nil
}

// toInode undoes toFile.
func toInode(files *fdpass.Files, mechanism *networkservice.Mechanism) {
	u, err := url.Parse(mechanism.GetParameters()[common.InodeURL])
	if err != nil || u.Scheme != "file" {
		return
	}
	if inodeURL, ok := files.InodeURL(u.Path); ok {
		mechanism.Parameters[common.InodeURL] = inodeURL
		// The files of preferences that were not chosen are of no more use.
		files.KeepOnly(inodeURL)
	}
}
