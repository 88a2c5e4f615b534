// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketPair returns a connection that carries descriptors and the plain socket at
// its other end.
func socketPair(t *testing.T) (*conn, *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	near, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := wrap(near).(*conn)
	t.Cleanup(func() { _ = c.Close(); _ = far.Close() })
	return c, far.(*net.UnixConn)
}

func tempFile(t *testing.T, contents string) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = file.WriteString(contents); err != nil {
		t.Fatal(err)
	}
	if err = file.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// within returns the value that ch yields, or fails the test.
func within[T any](t *testing.T, ch <-chan T) (v T, ok bool) {
	t.Helper()
	select {
	case v, ok = <-ch:
		return v, ok
	case <-time.After(5 * time.Second):
		t.Fatal("nothing within 5s")
		return v, false
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// readMessage does one recvmsg(2) and returns the bytes and how many descriptors
// came with them.
func readMessage(t *testing.T, c *net.UnixConn) ([]byte, int) {
	t.Helper()
	data, control := make([]byte, 4096), make([]byte, 4096)
	n, controlLen, _, _, err := c.ReadMsgUnix(data, control)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			t.Fatal(err)
		}
		count += len(fds)
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	return data[:n], count
}

func TestEachDescriptorRidesWithOneByteAndAtMost64InAWrite(t *testing.T) {
	c, far := socketPair(t)
	name := tempFile(t, "x")
	var outcomes []<-chan error
	for range 70 {
		outcomes = append(outcomes, c.SendFilename(name))
	}
	sent := bytes.Repeat([]byte("0123456789"), 10)
	write := func() {
		if n, err := c.Write(sent); n != len(sent) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	write()

	var got []byte
	for i := range 64 {
		data, fds := readMessage(t, far)
		if len(data) != 1 || fds != 1 {
			t.Fatalf("message %d: %d bytes with %d descriptors, want 1 with 1", i, len(data), fds)
		}
		got = append(got, data...)
	}
	data, fds := readMessage(t, far)
	if len(data) != len(sent)-64 || fds != 0 {
		t.Fatalf("after 64 descriptors: %d bytes with %d descriptors, want %d with 0", len(data), fds, len(sent)-64)
	}
	got = append(got, data...)
	write()
	for range 6 {
		data, fds := readMessage(t, far)
		if len(data) != 1 || fds != 1 {
			t.Fatalf("second write: %d bytes with %d descriptors, want 1 with 1", len(data), fds)
		}
		got = append(got, data...)
	}
	data, _ = readMessage(t, far)
	got = append(got, data...)
	if !bytes.Equal(got, append(sent, sent...)) {
		t.Fatalf("the byte stream changed: %q", got)
	}
	for _, outcome := range outcomes {
		if err, failed := within(t, outcome); failed {
			t.Fatalf("a descriptor that was sent reported %v", err)
		}
	}
}

func TestAWriteShorterThanTheQueueSendsOnePerByte(t *testing.T) {
	c, far := socketPair(t)
	name := tempFile(t, "x")
	for range 5 {
		c.SendFilename(name)
	}
	for _, chunk := range []string{"ab", "", "cdefg"} {
		if n, err := c.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", chunk, n, err)
		}
	}
	var got []byte
	total := 0
	for len(got) < 7 {
		data, fds := readMessage(t, far)
		got, total = append(got, data...), total+fds
	}
	if string(got) != "abcdefg" || total != 5 {
		t.Fatalf("got %q with %d descriptors, want abcdefg with 5", got, total)
	}
}

func TestReceiversGetTheirOwnDescriptorWhetherEarlyOrLate(t *testing.T) {
	c, far := socketPair(t)
	name := tempFile(t, "contents")
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	u, err := FileToURL(file)
	if err != nil {
		t.Fatal(err)
	}
	early, err := c.RecvFileByURL(u.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = far.WriteMsgUnix([]byte("!"), unix.UnixRights(int(file.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Fatalf("Read = %d, %v; want 1 byte", n, err)
	}
	late, err := c.RecvFDByURL(u.String())
	if err != nil {
		t.Fatal(err)
	}
	first, ok := within(t, early)
	if !ok {
		t.Fatal("the early receiver got nothing")
	}
	second, ok := within(t, late)
	if !ok {
		t.Fatal("the late receiver got nothing")
	}
	if first.Fd() == second {
		t.Fatal("both receivers got the same descriptor")
	}
	if want := "/proc/"; len(first.Name()) < len(want) || first.Name()[:len(want)] != want {
		t.Fatalf("file is named %q", first.Name())
	}
	// Closing one leaves the other and the connection's own open.
	_ = first.Close()
	data, err := io.ReadAll(os.NewFile(second, "second"))
	if err != nil || string(data) != "contents" {
		t.Fatalf("read %q, %v through the received descriptor", data, err)
	}
}

func TestDescriptorsAreNotInheritedByChildren(t *testing.T) {
	c, far := socketPair(t)
	file, err := os.Open(tempFile(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	key, err := inodeOf(file.Fd())
	if err != nil {
		t.Fatal(err)
	}
	_, _, _ = far.WriteMsgUnix([]byte("!"), unix.UnixRights(int(file.Fd())), nil)
	_, _ = c.Read(make([]byte, 1))
	fd, ok := within(t, c.RecvFD(key.dev, key.ino))
	if !ok {
		t.Fatal("got nothing")
	}
	defer func() { _ = unix.Close(int(fd)) }()
	for _, fd := range []int{int(fd), c.arrived[key]} {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Fatalf("descriptor %d: flags %#x, %v; want FD_CLOEXEC", fd, flags, err)
		}
	}
}

func TestTheSameFileTwiceIsKeptOnce(t *testing.T) {
	c, far := socketPair(t)
	file, err := os.Open(tempFile(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	buf := make([]byte, 1)
	_, _, _ = far.WriteMsgUnix([]byte("!"), unix.UnixRights(int(file.Fd())), nil)
	_, _ = c.Read(buf)
	before := openDescriptors(t)
	for range 20 {
		_, _, _ = far.WriteMsgUnix([]byte("!"), unix.UnixRights(int(file.Fd()), int(file.Fd())), nil)
		_, _ = c.Read(buf)
	}
	if after := openDescriptors(t); after != before {
		t.Fatalf("%d descriptors open, %d before", after, before)
	}
}

func TestCloseEndsWaitsAndFailsWhatIsQueued(t *testing.T) {
	name := tempFile(t, "")
	before := openDescriptors(t)
	c, far := socketPair(t)
	waiting := c.RecvFile(1, 2)
	queued := c.SendFilename(name)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := within(t, waiting); ok {
		t.Fatal("a receiver got a file from a closed connection")
	}
	if err, failed := within(t, queued); !failed || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("queued descriptor: %v, want %v", err, net.ErrClosed)
	}
	if err, failed := within(t, c.SendFilename(name)); !failed || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("descriptor after Close: %v, want %v", err, net.ErrClosed)
	}
	if _, ok := within(t, c.RecvFD(1, 2)); ok {
		t.Fatal("a late receiver got a descriptor from a closed connection")
	}
	_ = far.Close()
	if after := openDescriptors(t); after != before {
		t.Fatalf("%d descriptors open, %d before", after, before)
	}
}

func TestAFailedWriteReportsTheDescriptorsThatWereToGo(t *testing.T) {
	c, far := socketPair(t)
	name := tempFile(t, "")
	outcomes := []<-chan error{c.SendFilename(name), c.SendFilename(name)}
	_ = far.Close()
	if _, err := c.Write([]byte("abc")); err == nil {
		t.Fatal("Write to a closed peer succeeded")
	}
	for i, outcome := range outcomes {
		if err, failed := within(t, outcome); !failed || err == nil {
			t.Fatalf("descriptor %d reported no error", i)
		}
	}
}

func TestAFileThatCannotBeOpenedFailsAtOnce(t *testing.T) {
	c, _ := socketPair(t)
	missing := filepath.Join(t.TempDir(), "missing")
	for name, sender := range map[string]FDSender{"connection": c, "credentials": PerRPCCredentials(nil).(FDSender)} {
		if err, failed := within(t, sender.SendFilename(missing)); !failed || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want %v", name, err, os.ErrNotExist)
		}
		if err, failed := within(t, sender.SendFD(1<<30)); !failed || !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: %v, want %v", name, err, unix.EBADF)
		}
		if _, err := sender.(FDRecver).RecvFDByURL("file:///x"); err == nil {
			t.Errorf("%s: took a file URL for an inode URL", name)
		}
	}
}

func TestOnlyUnixConnectionsAreWrapped(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = near.Close(); _ = far.Close() }()
	if wrap(near) != near {
		t.Fatal("a pipe was wrapped")
	}
	c, _ := socketPair(t)
	if wrap(c) != net.Conn(c) {
		t.Fatal("a connection was wrapped twice")
	}
}
