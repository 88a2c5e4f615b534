// SPDX-License-Identifier: Apache-2.0

package throughput

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// move moves bytes on conn until stopped, when its deadline passes.
func (m *meter) move(conn net.Conn, o Options, stopped <-chan struct{}) error {
	var err error
	switch {
	case o.UDP && o.Reverse:
		err = m.askFor(conn, stopped)
	case o.UDP:
		err = m.send(conn, make([]byte, datagram), stopped)
	case o.Reverse:
		err = m.receive(conn)
	default:
		err = m.send(conn, make([]byte, ioSize), stopped)
	}
	if !isTimeout(err) {
		return err
	}
	<-stopped
	if half, ok := conn.(interface{ CloseWrite() error }); ok && !o.UDP && !o.Reverse {
		return drain(conn, half.CloseWrite)
	}
	return nil
}

// drain waits until the host has read everything, which it tells by closing the stream.
func drain(conn net.Conn, closeWrite func() error) error {
	if err := conn.SetDeadline(time.Now().Add(drainTimeout)); err != nil {
		return err
	}
	if err := closeWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return fmt.Errorf("wait for what was sent to arrive: %w", err)
	}
	return nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// errStopped is a deadline that has passed without being met.
var errStopped = os.ErrDeadlineExceeded

// send writes until the deadline. UDP never waits, and may not notice it.
func (m *meter) send(conn net.Conn, data []byte, stopped <-chan struct{}) error {
	for {
		n, err := conn.Write(data)
		if n > 0 {
			m.moved(n)
		}
		if err != nil {
			return err
		}
		select {
		case <-stopped:
			return errStopped
		default:
		}
	}
}

// receive reads until the deadline.
func (m *meter) receive(conn net.Conn) error {
	buf := make([]byte, ioSize)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			m.moved(n)
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the host has closed the stream; has it too many of them?")
		}
		if err != nil {
			return err
		}
	}
}

const (
	// window is how many datagrams are asked for at once.
	window = 64
	// askAgain is how long to wait for them before some count as lost.
	askAgain = 50 * time.Millisecond
)

// askFor has each datagram that comes answered by a request for another.
func (m *meter) askFor(conn net.Conn, stopped <-chan struct{}) error {
	buf := make([]byte, 1<<16)
	wanted := window
	for {
		for ; wanted > 0; wanted-- {
			if _, err := conn.Write(buf[:1]); err != nil {
				return err
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(askAgain)); err != nil {
			return err
		}
		select {
		case <-stopped:
			return errStopped
		default:
		}
		n, err := conn.Read(buf)
		switch {
		case err == nil:
			m.moved(n)
			wanted = 1
		case isTimeout(err):
			wanted = window
		default:
			return err
		}
	}
}
