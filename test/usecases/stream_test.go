// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

const (
	// streamInterval is the time between two packets of a stream.
	streamInterval = 20 * time.Millisecond
	// streamPatience is how long the last answers may take.
	streamPatience = 10 * time.Second
	// echoPort is where endpoints send packets back (RFC 862).
	echoPort = 7
)

// stream sends numbered UDP packets at a steady rate to somebody who sends them back,
// and notes which have come back.
type stream struct {
	name string
	conn net.Conn
	stop chan struct{}

	sending, receiving sync.WaitGroup

	sent uint32 // of the sender until it has ended

	mu       sync.Mutex
	returned map[uint32]int
	failed   error
}

// startStream returns when the first packet has come back: neighbours are known then.
func startStream(name string, conn net.Conn) (*stream, error) {
	s := &stream{name: name, conn: conn, stop: make(chan struct{}), returned: make(map[uint32]int)}
	if err := awaitEcho(conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.receiving.Go(s.receive)
	s.sending.Go(s.send)
	return s, nil
}

// warmUpNumber marks packets that do not count.
const warmUpNumber = ^uint32(0)

// awaitEcho repeats a packet until it comes back.
func awaitEcho(conn net.Conn) error {
	buf := binary.BigEndian.AppendUint32(nil, warmUpNumber)
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		_, sendErr := conn.Write(buf) // the way may not be there yet
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := conn.Read(make([]byte, 16))
		if err == nil && n == len(buf) {
			return nil
		}
		last = errors.Join(sendErr, err)
	}
	return fmt.Errorf("no packet comes back: %w", last)
}

func (s *stream) send() {
	tick := time.NewTicker(streamInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if _, err := s.conn.Write(binary.BigEndian.AppendUint32(nil, s.sent)); err != nil {
			s.fail(fmt.Errorf("send packet %d: %w", s.sent, err))
		}
		s.sent++
	}
}

func (s *stream) receive() {
	buf := make([]byte, 16)
	_ = s.conn.SetReadDeadline(time.Time{})
	for {
		n, err := s.conn.Read(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return
		}
		if err != nil {
			s.fail(fmt.Errorf("receive: %w", err))
			return
		}
		if number := binary.BigEndian.Uint32(buf); n == 4 && number != warmUpNumber {
			s.mu.Lock()
			s.returned[number]++
			s.mu.Unlock()
		}
	}
}

// complete says that all has come back that was sent.
func (s *stream) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.returned) == int(s.sent)
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// finish ends the stream and returns how many packets were sent, and an error if one of
// them has not come back exactly once.
func (s *stream) finish() (uint32, error) {
	close(s.stop)
	s.sending.Wait()
	for deadline := time.Now().Add(streamPatience); !s.complete() && time.Now().Before(deadline); {
		time.Sleep(streamInterval)
	}
	_ = s.conn.SetReadDeadline(time.Now())
	s.receiving.Wait()
	defer func() { _ = s.conn.Close() }()
	var lost, twice []uint32
	for number := range s.sent {
		switch s.returned[number] {
		case 1:
		case 0:
			lost = append(lost, number)
		default:
			twice = append(twice, number)
		}
	}
	err := s.failed
	if len(lost)+len(twice) > 0 {
		err = errors.Join(err, fmt.Errorf("of %d packets %d were lost: %v, and %d came more than once: %v", s.sent, len(lost), lost, len(twice), twice))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", s.name, err)
	}
	return s.sent, err
}

// echo sends back what comes to a port in a namespace, until the returned function is
// called.
func echo(ns *lab.Namespace, port uint16) (stop func(), err error) {
	var conn *net.UDPConn
	err = netns.Do(ns.Path, func() error {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		return err
	})
	if err != nil {
		return nil, err
	}
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
			}
		}
	})
	return func() {
		_ = conn.Close()
		done.Wait()
	}, nil
}
