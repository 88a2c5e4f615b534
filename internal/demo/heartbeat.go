// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// heartbeat is a TCP connection between the two nodes on which a line goes to
// and fro all the time, as it would in somebody's ssh session.
type heartbeat struct {
	conn     net.Conn
	listener net.Listener
	done     chan struct{}

	// Valid after stop.
	beats   int
	longest time.Duration
	err     error
}

const beatEvery = 2 * time.Millisecond

func startHeartbeat(ctx context.Context, from, to *lab.Node) (*heartbeat, error) {
	h := &heartbeat{done: make(chan struct{})}
	err := netns.Do(to.Path, func() error {
		var err error
		h.listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(to.Addr, 2222)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start a session between the nodes: %w", err)
	}
	go func() {
		conn, err := h.listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			if _, err := fmt.Fprintln(conn, lines.Text()); err != nil {
				return
			}
		}
	}()
	err = netns.Do(from.Path, func() error {
		var err error
		h.conn, err = net.DialTCP("tcp", nil, h.listener.Addr().(*net.TCPAddr))
		return err
	})
	if err != nil {
		_ = h.listener.Close()
		return nil, fmt.Errorf("start a session between the nodes: %w", err)
	}
	go h.run(ctx)
	return h, nil
}

func (h *heartbeat) run(ctx context.Context) {
	defer close(h.done)
	answers := bufio.NewReader(h.conn)
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		sent := time.Now()
		if _, err := fmt.Fprintf(h.conn, "%d\n", h.beats); err != nil {
			h.fail(err)
			return
		}
		var got int
		if _, err := fmt.Fscanf(answers, "%d\n", &got); err != nil {
			h.fail(err)
			return
		}
		if got != h.beats {
			h.err = fmt.Errorf("beat %d was answered with %d", h.beats, got)
			return
		}
		h.beats++
		h.longest = max(h.longest, time.Since(sent))
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (h *heartbeat) fail(err error) {
	if !errors.Is(err, net.ErrClosed) {
		h.err = err
	}
}

// stop ends the session and returns what it saw.
func (h *heartbeat) stop() (beats int, longest time.Duration, err error) {
	_ = h.conn.Close()
	_ = h.listener.Close()
	<-h.done
	return h.beats, h.longest, h.err
}
