// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// stream sends bytes over TCP from one pod to another, and compares.
func stream(t testing.TB, from, to *namespace, addr string, size int64) {
	t.Helper()
	var listener net.Listener
	require.NoError(t, netns.Do(to.path, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	}))
	defer listener.Close()
	received := make(chan error, 1)
	sent, got := sha256.New(), sha256.New()
	go func() {
		received <- func() error {
			c, err := listener.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			n, err := io.Copy(got, c)
			if err == nil && n != size {
				err = fmt.Errorf("%d bytes of %d", n, size)
			}
			return err
		}()
	}()
	var c net.Conn
	require.NoError(t, netns.Do(from.path, func() (err error) {
		// Not by a Dialer, which would dial on other threads.
		c, err = net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
		return err
	}))
	block := make([]byte, 64<<10)
	for i := 0; i < len(block); i += 8 {
		binary.BigEndian.PutUint64(block[i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	_, err := io.Copy(io.MultiWriter(c, sent), io.LimitReader(&repeat{block: block}, size))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, <-received)
	require.True(t, bytes.Equal(sent.Sum(nil), got.Sum(nil)), "the bytes differ")
}

// repeat reads a block over and over, each time with another number in front.
type repeat struct {
	block []byte
	at    int
	n     uint64
}

func (r *repeat) Read(b []byte) (int, error) {
	if r.at == 0 {
		r.n++
		binary.BigEndian.PutUint64(r.block, r.n)
	}
	n := copy(b, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}
