// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxPerWrite is how many descriptors leave with one Write; the rest stays
	// queued for the next.
	maxPerWrite = 64
	// maxPerMessage is SCM_MAX_FD, the most that the kernel delivers at once.
	maxPerMessage = 253
)

// conn is a unix connection that carries descriptors. It is its own remote address,
// for that is what gRPC shows of a connection to those who make and serve calls.
//
// Write, Read and the methods of FDTransceiver may run at the same time. mu guards
// what they share and is never held during input or output.
type conn struct {
	net.Conn // socket, without the methods by which io.Copy would go around Write and Read
	socket   *net.UnixConn

	writing sync.Mutex
	reading sync.Mutex
	control []byte // for Read, under reading

	mu      sync.Mutex
	closed  bool
	queue   []outgoing
	arrived map[inode]int
	waiting map[inode][]chan<- uintptr
}

type outgoing struct {
	fd   int
	done chan<- error // has room for one error
}

var _ FDTransceiver = (*conn)(nil)

// wrap returns raw itself unless it is a unix stream connection.
func wrap(raw net.Conn) net.Conn {
	unixConn, ok := raw.(*net.UnixConn)
	if !ok {
		return raw
	}
	return &conn{
		Conn:    unixConn,
		socket:  unixConn,
		control: make([]byte, unix.CmsgSpace(4*maxPerMessage)),
		arrived: make(map[inode]int),
		waiting: make(map[inode][]chan<- uintptr),
	}
}

// Write sends b, its first bytes each with one queued descriptor.
func (c *conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()

	batch := c.take(min(len(b), maxPerWrite))
	for i, out := range batch {
		_, _, err := c.socket.WriteMsgUnix(b[i:i+1], unix.UnixRights(out.fd), nil)
		if err != nil {
			err = fmt.Errorf("send descriptor: %w", err)
			for _, rest := range batch[i:] {
				rest.finish(err)
			}
			return i, err
		}
		out.finish(nil)
	}
	n, err := c.socket.Write(b[len(batch):])
	return len(batch) + n, err
}

func (c *conn) take(n int) []outgoing {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, len(c.queue))
	batch := c.queue[:n:n]
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil
	}
	return batch
}

func (o outgoing) finish(err error) {
	_ = unix.Close(o.fd)
	fail(o.done, err)
}

// fail reports the outcome of a send, of which there is only one.
func fail(done chan<- error, err error) {
	if err != nil {
		done <- err
	}
	close(done)
}

func failed(err error) <-chan error {
	done := make(chan error, 1)
	fail(done, err)
	return done
}

// Read fills b and files the descriptors that come along.
func (c *conn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()

	n, controlLen, _, _, err := c.socket.ReadMsgUnix(b, c.control)
	if controlLen > 0 {
		c.file(c.control[:controlLen])
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (c *conn) file(control []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			c.fileOne(fd)
		}
	}
}

// fileOne keeps fd, or closes it when there is no need for it.
func (c *conn) fileOne(fd int) {
	key, err := inodeOf(uintptr(fd))
	if err != nil {
		_ = unix.Close(fd)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.arrived[key]; known || c.closed {
		_ = unix.Close(fd)
		return
	}
	c.arrived[key] = fd
	for _, waiter := range c.waiting[key] {
		deliver(waiter, fd)
	}
	delete(c.waiting, key)
}

func deliver(waiter chan<- uintptr, fd int) {
	defer close(waiter)
	if dup, err := duplicate(uintptr(fd)); err == nil {
		waiter <- uintptr(dup)
	}
}

func duplicate(fd uintptr) (int, error) {
	dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate descriptor %d: %w", fd, err)
	}
	return dup, nil
}

func (c *conn) SendFD(fd uintptr) <-chan error {
	dup, err := duplicate(fd)
	if err != nil {
		return failed(err)
	}
	done := make(chan error, 1)
	out := outgoing{fd: dup, done: done}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		out.finish(errClosed)
		return done
	}
	c.queue = append(c.queue, out)
	return done
}

var errClosed = fmt.Errorf("send descriptor: %w", net.ErrClosed)

func (c *conn) SendFile(file SyscallConn) <-chan error {
	var done <-chan error
	err := control(file, func(fd uintptr) error {
		done = c.SendFD(fd)
		return nil
	})
	if err != nil {
		return failed(err)
	}
	return done
}

func (c *conn) SendFilename(filename string) <-chan error {
	file, err := openPath(filename)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = file.Close() }()
	return c.SendFile(file)
}

func openPath(filename string) (*os.File, error) {
	file, err := os.OpenFile(filename, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("send descriptor: %w", err)
	}
	return file, nil
}

func (c *conn) RecvFD(dev, ino uint64) <-chan uintptr {
	key := inode{dev: dev, ino: ino}
	waiter := make(chan uintptr, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if fd, ok := c.arrived[key]; ok {
		deliver(waiter, fd)
	} else if c.closed {
		close(waiter)
	} else {
		c.waiting[key] = append(c.waiting[key], waiter)
	}
	return waiter
}

func (c *conn) RecvFile(dev, ino uint64) <-chan *os.File {
	return asFile(c.RecvFD(dev, ino))
}

func (c *conn) RecvFDByURL(urlStr string) (<-chan uintptr, error) {
	return byURL(urlStr, c.RecvFD)
}

func (c *conn) RecvFileByURL(urlStr string) (<-chan *os.File, error) {
	return byURL(urlStr, c.RecvFile)
}

func asFile(fds <-chan uintptr) <-chan *os.File {
	files := make(chan *os.File, 1)
	go func() {
		defer close(files)
		for fd := range fds {
			files <- os.NewFile(fd, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
		}
	}()
	return files
}

func byURL[T any](urlStr string, receive func(dev, ino uint64) <-chan T) (<-chan T, error) {
	dev, ino, err := URLStringToDevIno(urlStr)
	if err != nil {
		return nil, err
	}
	return receive(dev, ino), nil
}

// Close closes the connection and every descriptor that belongs to it. Descriptors
// still queued fail, those who still wait for one see their channel closed.
func (c *conn) Close() error {
	err := c.socket.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return err
	}
	c.closed = true
	for _, out := range c.queue {
		out.finish(errClosed)
	}
	c.queue = nil
	for _, fd := range c.arrived {
		err = errors.Join(err, unix.Close(fd))
	}
	clear(c.arrived)
	for _, waiters := range c.waiting {
		for _, waiter := range waiters {
			close(waiter)
		}
	}
	clear(c.waiting)
	return err
}

// RemoteAddr returns the connection itself, as FDTransceiver and net.Addr.
func (c *conn) RemoteAddr() net.Addr { return c }

// Network implements net.Addr.
func (c *conn) Network() string { return c.socket.RemoteAddr().Network() }

// String implements net.Addr.
func (c *conn) String() string { return c.socket.RemoteAddr().String() }
