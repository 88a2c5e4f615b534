// SPDX-License-Identifier: Apache-2.0

package dnsproxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

const (
	// serverTimeout is for one group of servers. Resolvers give up after 5 s.
	serverTimeout = 1500 * time.Millisecond
	// idleTimeout is for a client's TCP connection (RFC 7766, section 6.2.3).
	idleTimeout = 10 * time.Second
	maxMessage  = 1<<16 - 1
	headerSize  = 12
)

func (p *Proxy) servePackets(ctx context.Context) {
	buf := make([]byte, maxMessage)
	for {
		n, client, err := p.packets.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier reply
		}
		query := append([]byte(nil), buf[:n]...)
		p.inSlot(func() {
			if reply := p.answer(ctx, "udp", query); reply != nil {
				_, _ = p.packets.WriteTo(reply, client)
			}
		})
	}
}

func (p *Proxy) serveStreams(ctx context.Context) {
	for {
		stream, err := p.streams.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		served := p.inSlot(func() {
			defer func() { _ = stream.Close() }()
			defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
			p.serveStream(ctx, stream)
		})
		if !served {
			_ = stream.Close()
		}
	}
}

// inSlot runs f beside the caller unless too much is going on.
func (p *Proxy) inSlot(f func()) bool {
	select {
	case p.slots <- struct{}{}:
		p.serving.Go(func() {
			defer func() { <-p.slots }()
			f()
		})
		return true
	default:
		return false
	}
}

func (p *Proxy) serveStream(ctx context.Context, stream net.Conn) {
	for {
		if stream.SetDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
		query, err := readMessage(stream)
		if err != nil {
			return
		}
		reply := p.answer(ctx, "tcp", query)
		if reply == nil || writeMessage(stream, reply) != nil {
			return
		}
	}
}

// exchange asks one server, under an id that only the server can know, and returns its
// reply under the id of the query.
func exchange(ctx context.Context, network string, server netip.AddrPort, query []byte) ([]byte, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, fmt.Errorf("ask name server: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	asked := append([]byte(nil), query...)
	_, _ = rand.Read(asked[:2])
	send, receive := func() error { _, err := conn.Write(asked); return err }, func() ([]byte, error) { return readPacket(conn) }
	if network == "tcp" {
		send, receive = func() error { return writeMessage(conn, asked) }, func() ([]byte, error) { return readMessage(conn) }
	}
	if err := send(); err != nil {
		return nil, fmt.Errorf("ask name server %s: %w", server, err)
	}
	for {
		reply, err := receive()
		if err != nil {
			return nil, fmt.Errorf("ask name server %s: %w", server, err)
		}
		if len(reply) < headerSize || reply[0] != asked[0] || reply[1] != asked[1] {
			continue // somebody else's
		}
		copy(reply, query[:2])
		return reply, nil
	}
}

func readPacket(conn net.Conn) ([]byte, error) {
	buf := make([]byte, maxMessage)
	n, err := conn.Read(buf)
	return buf[:n], err
}

// readMessage reads a message with the length in front of it (RFC 1035, section 4.2.2).
func readMessage(stream net.Conn) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(stream, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(stream, message)
	return message, err
}

func writeMessage(stream net.Conn, message []byte) error {
	if len(message) > maxMessage {
		return fmt.Errorf("message of %d bytes is too long", len(message))
	}
	_, err := stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}
