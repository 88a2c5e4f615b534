// SPDX-License-Identifier: Apache-2.0

// Package inetd has the small services that networks are tested with, by TCP and UDP:
// ECHO (RFC 862), DISCARD (RFC 863) and CHARGEN (RFC 864).
//
// They are bounded, as everybody may call them: so many TCP connections, each
// with a limit to its idleness; a UDP datagram is answered by one at most, and none from a
// privileged port is, behind which another service could answer the answer.
package inetd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Ports of the services.
const (
	EchoPort    = 7
	DiscardPort = 9
	ChargenPort = 19
)

const (
	// maxConns is how many TCP connections are served, and maxIdle how long one may stay without a
	// byte that moves.
	maxConns = 256
	maxIdle  = time.Minute
	// firstFree is the lowest port that clients have.
	firstFree = 1024
	// ioSize is how much is read or written at once.
	ioSize = 128 << 10
)

// Network is where services listen.
type Network interface {
	ListenTCP(port uint16) (net.Listener, error)
	ListenUDP(port uint16) (net.PacketConn, error)
}

// Server is the services on one network.
type Server struct {
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	slots   chan struct{}
}

type service struct {
	port   uint16
	stream func(*stream)
	// answer makes the answer to a datagram in b, nil for none.
	answer func(b []byte, n int) []byte
}

var services = []service{
	{EchoPort, echoStream, func(b []byte, n int) []byte { return b[:n] }},
	{DiscardPort, discardStream, func([]byte, int) []byte { return nil }},
	{ChargenPort, chargenStream, func([]byte, int) []byte { return pattern[:maxCharacters] }},
}

// Serve starts all services on a network. The caller closes the server.
func Serve(network Network) (*Server, error) {
	s := &Server{slots: make(chan struct{}, maxConns)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, service := range services {
		if err := s.start(network, service); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) start(network Network, service service) error {
	listener, err := network.ListenTCP(service.port)
	if err != nil {
		return fmt.Errorf("inetd: %w", err)
	}
	context.AfterFunc(s.ctx, func() { _ = listener.Close() })
	s.running.Go(func() { s.accept(listener, service.stream) })
	socket, err := network.ListenUDP(service.port)
	if err != nil {
		return fmt.Errorf("inetd: %w", err)
	}
	context.AfterFunc(s.ctx, func() { _ = socket.Close() })
	s.running.Go(func() { s.datagrams(socket, service.answer) })
	return nil
}

// Close ends the services and their connections.
func (s *Server) Close() {
	s.stop()
	s.running.Wait()
}

func (s *Server) accept(listener net.Listener, serve func(*stream)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if s.pause(err) {
				continue
			}
			return
		}
		select {
		case s.slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		s.running.Go(func() {
			defer func() { <-s.slots }()
			stream := &stream{Conn: conn}
			defer stream.end()
			defer context.AfterFunc(s.ctx, stream.end)()
			serve(stream)
		})
	}
}

// pause tells whether to go on after an error: one of a resource that is short passes.
func (s *Server) pause(err error) bool {
	if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	select {
	case <-s.ctx.Done():
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

func (s *Server) datagrams(socket net.PacketConn, answer func([]byte, int) []byte) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := socket.ReadFrom(buf)
		if err != nil {
			if s.pause(err) {
				continue
			}
			return
		}
		if reply := answer(buf, n); reply != nil && mayAnswer(from) {
			_, _ = socket.WriteTo(reply, from)
		}
	}
}

// mayAnswer tells whether from is the port of a client.
func mayAnswer(from net.Addr) bool {
	addr, ok := from.(*net.UDPAddr)
	return ok && addr.Port >= firstFree
}

// stream is a connection that ends when no byte has moved for maxIdle.
type stream struct {
	net.Conn
	moved time.Time
}

// end closes the connection under whoever reads or writes.
func (s *stream) end() {
	_ = s.SetDeadline(time.Unix(1, 0))
	_ = s.Close()
}

// extend moves the deadline, now and then.
func (s *stream) extend() {
	if t := time.Now(); t.Sub(s.moved) > maxIdle/8 {
		s.moved = t
		_ = s.SetDeadline(t.Add(maxIdle))
	}
}

func (s *stream) Read(b []byte) (int, error) {
	s.extend()
	return s.Conn.Read(b)
}

func (s *stream) Write(b []byte) (int, error) {
	s.extend()
	return s.Conn.Write(b)
}

func echoStream(s *stream) {
	buf := make([]byte, ioSize)
	for {
		n, err := s.Read(buf)
		if n > 0 {
			if _, err := s.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func discardStream(s *stream) {
	buf := make([]byte, ioSize)
	for {
		if _, err := s.Read(buf); err != nil {
			return
		}
	}
}

func chargenStream(s *stream) {
	// What the client says is thrown away (RFC 864); its end is the end.
	var reading sync.WaitGroup
	defer reading.Wait()
	defer s.end()
	reading.Go(func() {
		_, _ = io.Copy(io.Discard, s.Conn)
		s.end()
	})
	for {
		if _, err := s.Write(pattern); err != nil {
			return
		}
	}
}

// Lines of the pattern that RFC 864 suggests.
const (
	lineLength    = 72
	firstPrinting = ' '
	lastPrinting  = '~'
	// maxCharacters is the size of a CHARGEN datagram.
	maxCharacters = 512
)

// pattern is all 95 lines, often enough to be written at once.
var pattern = makePattern()

func makePattern() []byte {
	const characters = int(lastPrinting - firstPrinting + 1)
	var all []byte
	for len(all) < ioSize {
		for line := range characters {
			for column := range lineLength {
				all = append(all, byte(int(firstPrinting)+(line+column)%characters))
			}
			all = append(all, '\r', '\n')
		}
	}
	return all
}
