// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lostAfter is how long a peer may leave data, or a probe of an idle
// connection, without an answer.
const lostAfter = 5 * time.Second

// dialTCP connects such that a node that is gone, and will not say so, is
// noticed: tcp(7), TCP_USER_TIMEOUT. Keep-alive of HTTP/2 would do as well, but
// servers refuse clients that use it as often as this needs.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: lostAfter / 2, Interval: lostAfter / 5, Count: 3},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			if controlErr := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostAfter.Milliseconds()))
			}); controlErr != nil {
				return controlErr
			}
			return err
		},
	}
	return dialer.DialContext(ctx, "tcp", address)
}
