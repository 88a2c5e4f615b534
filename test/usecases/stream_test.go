// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
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
	// echoPort is where an echoer listens.
	echoPort = 7007
)

// stream sends numbered UDP packets at a steady rate to somebody who sends them back,
// and notes which have come back.
type stream struct {
	name string
	conn net.Conn
	stop chan struct{}
	done sync.WaitGroup

	sent     uint32
	returned map[uint32]int
	failed   error
	mu       sync.Mutex
}

// startStream returns when the first packet has come back: neighbours are known then.
func startStream(name string, conn net.Conn) (*stream, error) {
	s := &stream{name: name, conn: conn, stop: make(chan struct{}), returned: make(map[uint32]int)}
	if err := s.warmUp(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: no packet comes back: %w", name, err)
	}
	s.done.Go(s.receive)
	s.done.Go(s.send)
	return s, nil
}

// warmUpNumber marks packets that do not count.
const warmUpNumber = ^uint32(0)

func (s *stream) warmUp() error {
	buf := binary.BigEndian.AppendUint32(nil, warmUpNumber)
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := s.conn.Write(buf); err != nil && time.Now().After(deadline) {
			return err
		}
		_ = s.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := s.conn.Read(make([]byte, 16)); err == nil && n == len(buf) {
			return nil
		}
		if time.Now().After(deadline) {
			return os.ErrDeadlineExceeded
		}
	}
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
		if errors.Is(err, os.ErrDeadlineExceeded) {
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

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
}

// finish ends the stream and returns how many packets were sent, and an error if one of
// them has not come back exactly once.
func (s *stream) finish() (uint32, error) {
	close(s.stop)
	_ = s.conn.SetReadDeadline(time.Now().Add(streamPatience))
	s.done.Wait()
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

// dialUDP is a UDP socket of Linux in a pod.
func dialUDP(pod *lab.Namespace, to netip.AddrPort) (conn net.Conn, err error) {
	err = netns.Do(pod.Path, func() error {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	return conn, err
}

// echo sends back what comes to a port of a pod, until the returned function is called.
func echo(pod *lab.Namespace, port uint16) (stop func(), err error) {
	var conn *net.UDPConn
	err = netns.Do(pod.Path, func() error {
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
