// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package dial

import (
	"context"
	"net"
)

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", address)
}
