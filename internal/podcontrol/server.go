// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netstack"
)

const (
	// maxCallers is how many are served at the same time.
	maxCallers = 64
	// patience is how long a caller may take to say what it wants, and to read what it is told.
	patience = 10 * time.Second
)

// Server serves commands of the pod.
type Server struct {
	listener *net.UnixListener
	lookup   func(netip.Addr) *netstack.Stack
	uid      int
	ctx      context.Context
	stop     context.CancelFunc
	running  sync.WaitGroup
	slots    chan struct{}
}

// Listen serves at an abstract socket of the current network namespace, such as @nsm/nsc. lookup
// returns the stack that leads to an address, or nil.
func Listen(socket string, lookup func(netip.Addr) *netstack.Stack) (*Server, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for commands of the pod: %w", err)
	}
	s := &Server{listener: listener, lookup: lookup, uid: os.Getuid(), slots: make(chan struct{}, maxCallers)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.running.Go(s.accept)
	return s, nil
}

// Close ends everything that is being done.
func (s *Server) Close() {
	s.stop()
	_ = s.listener.Close()
	s.running.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond): // no file descriptor is left, for the moment
				continue
			}
		}
		select {
		case s.slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		s.running.Go(func() {
			defer func() { <-s.slots }()
			defer func() { _ = conn.Close() }()
			s.serve(conn)
		})
	}
}

// serve serves one caller.
func (s *Server) serve(conn *net.UnixConn) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	reader := bufio.NewReaderSize(conn, maxRequest)
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return
	}
	encoder := json.NewEncoder(conn)
	tell := func(r Response) {
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		if encoder.Encode(r) != nil {
			cancel()
		}
	}
	if !s.allowed(conn) {
		tell(Response{Error: fmt.Sprintf("not allowed: want user %d or root", s.uid)})
		return
	}
	request, err := parseRequest(line)
	if err != nil {
		tell(Response{Error: err.Error()})
		return
	}
	stack := s.lookup(request.Address)
	if stack == nil {
		tell(Response{Elsewhere: true})
		return
	}
	// The caller says no more; that it can be read is the end.
	_ = conn.SetReadDeadline(time.Time{})
	if s.ctx.Err() != nil {
		return
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(reader, 1))
		cancel()
	})
	request.run(ctx, network{echo: stack.Echo, dial: stack.DialContext}, tell)
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	watching.Wait()
}

// allowed tells whether the caller is of the same user, or root.
func (s *Server) allowed(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var caller *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		caller, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return false
	}
	return caller.Uid == 0 || int(caller.Uid) == s.uid
}
