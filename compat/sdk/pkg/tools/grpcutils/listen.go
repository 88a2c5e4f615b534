// SPDX-License-Identifier: Apache-2.0

package grpcutils

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
)

// ListenAndServe serves server at address until ctx ends. Errors come through
// the returned channel, which is closed once the server has stopped. When it
// returns, the socket listens, and address is the real one: port 0 replaced by
// the port. A unix socket's folder is made, what an earlier process left at its
// path is removed, and everybody may connect to it.
func ListenAndServe(ctx context.Context, address *url.URL, server *grpc.Server) <-chan error {
	errCh := make(chan error, 2)
	listener, err := listen(ctx, address)
	if err != nil {
		errCh <- err
		close(errCh)
		return errCh
	}
	*address = *AddressToURL(listener.Addr())

	served := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			server.Stop()
		case <-served:
		}
	}()
	go func() {
		defer close(errCh)
		defer close(served)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			errCh <- fmt.Errorf("serve %s: %w", address, err)
		}
	}()
	return errCh
}

func listen(ctx context.Context, address *url.URL) (net.Listener, error) {
	network, target := TargetToNetAddr(URLToTarget(address))
	if network == unixScheme {
		if err := os.MkdirAll(filepath.Dir(target), os.ModePerm); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("listen on %s: remove what is there: %w", address, err)
		}
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, target)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if network == unixScheme {
		if err := os.Chmod(target, os.ModePerm); err != nil {
			_ = listener.Close()
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	return listener, nil
}
