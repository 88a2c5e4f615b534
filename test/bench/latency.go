// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// echoPort of the server pod.
const echoPort = 7007

// measureLatency sends UDP datagrams of 64 bytes from the client pod, each
// after the one before was answered; then it waits for pause. Both ends are
// blocking system calls on threads of their own.
func measureLatency(ctx context.Context, p *path, pause, d time.Duration) (values, error) {
	server, err := p.server.udp(echoPort, netip.AddrPort{})
	if err != nil {
		return nil, err
	}
	client, err := p.client.udp(0, netip.AddrPortFrom(p.server.addr, echoPort))
	if err != nil {
		_ = unix.Close(server)
		return nil, err
	}
	defer func() { _ = unix.Close(client) }()
	done := make(chan struct{})
	go echo(server, done)
	round, err := pingPong(ctx, client, pause, d)
	// The echo's receive call ends by its time limit at the latest.
	_ = unix.Shutdown(server, unix.SHUT_RDWR)
	<-done
	_ = unix.Close(server)
	if err != nil {
		return nil, err
	}
	return values{"p50 µs": 1e6 * percentile(round, 50), "p99 µs": 1e6 * percentile(round, 99), "rounds": float64(len(round))}, nil
}

// udp opens a socket on the end's address whose calls last a second at most.
func (e *end) udp(port uint16, to netip.AddrPort) (fd int, err error) {
	err = netns.Do(e.ns, func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}),
			unix.Bind(fd, &unix.SockaddrInet4{Port: int(port), Addr: e.addr.As4()}))
		if to.IsValid() {
			err = errors.Join(err, unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}))
		}
		if err != nil {
			_ = unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open UDP socket %s: %w", net.JoinHostPort(e.addr.String(), fmt.Sprint(port)), err)
	}
	return fd, nil
}

// echo returns datagrams to their sender until a second passes without one.
func echo(fd int, done chan<- struct{}) {
	defer close(done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || from == nil {
			return
		}
		if err := unix.Sendto(fd, buf[:n], 0, from); err != nil {
			return
		}
	}
}

func pingPong(ctx context.Context, fd int, pause, d time.Duration) ([]time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const warmUp = 20
	datagram := make([]byte, 64-headers)
	var round []time.Duration
	var number uint64
	lost := 0
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		number++
		binary.BigEndian.PutUint64(datagram, number)
		started := time.Now()
		if _, err := unix.Write(fd, datagram); err != nil {
			return nil, fmt.Errorf("send to the echo: %w", err)
		}
		err := awaitAnswer(fd, number)
		if errors.Is(err, unix.EAGAIN) && lost < 3 {
			lost++
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive from the echo: %w", err)
		}
		round = append(round, time.Since(started))
		if pause > 0 {
			ts := unix.NsecToTimespec(pause.Nanoseconds())
			_ = unix.Nanosleep(&ts, nil)
		}
	}
	if len(round) <= warmUp {
		return nil, fmt.Errorf("only %d rounds in %s", len(round), d)
	}
	return round[warmUp:], ctx.Err()
}

// awaitAnswer reads the answer with this number. Others are late, to what was
// taken for lost.
func awaitAnswer(fd int, number uint64) error {
	var answer [64]byte
	for {
		n, err := unix.Read(fd, answer[:])
		switch {
		case errors.Is(err, unix.EINTR): // the Go scheduler's signals
		case err != nil:
			return err
		case n >= 8 && binary.BigEndian.Uint64(answer[:]) == number:
			return nil
		}
	}
}
