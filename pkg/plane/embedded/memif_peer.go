// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// A peer that did not just leave, but broke the protocol, say, has to wait for
// Plane.penalty: ending its connection costs a worker as much as 20 ms (the doorbell's
// patience), which it is not to pay again and again. Nor is a peer welcome more
// often than every interval.
const (
	memifPenalty  = time.Second
	memifInterval = 100 * time.Millisecond
)

// serve connects one peer after another. It is a goroutine of the port.
func (m *memifPort) serve(ctx context.Context) {
	defer close(m.served)
	for {
		conn, err := m.iface.Connect(ctx)
		if err != nil {
			return // closed
		}
		next := time.Now().Add(memifInterval)
		m.plane.logf("connection %s: %s: %q is there, with %d rings to us and %d from us",
			m.id, m.port, conn.Peer().Name, len(conn.Rx()), len(conn.Tx()))
		if err = m.begin(conn); err == nil {
			select {
			case <-conn.Done():
				err = conn.Err()
			case <-ctx.Done():
			}
		}
		m.end(conn)
		if ctx.Err() != nil {
			return
		}
		m.plane.logf("connection %s: %s: %v", m.id, m.port, err)
		var said *memif.DisconnectError
		if !errors.Is(err, memif.ErrPeerGone) && !errors.As(err, &said) {
			next = time.Now().Add(m.plane.penalty)
		}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return
		}
	}
}

// begin lets packets flow.
func (m *memifPort) begin(conn *memif.Conn) error {
	m.openTx(conn)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = conn
	if m.reader == nil {
		return nil
	}
	return m.reader.begin(conn)
}

// end closes the connection, when nobody uses it any more.
func (m *memifPort) end(conn *memif.Conn) {
	m.closeTx()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = nil
	if m.reader != nil {
		m.reader.end()
	}
	_ = conn.Close()
}
