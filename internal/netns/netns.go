// SPDX-License-Identifier: Apache-2.0

// Package netns runs code in other network namespaces without leaving a thread
// of the process behind in one of them.
//
// A namespace is named by a path: /proc/<pid>/ns/net, /run/netns/<name>, or
// /proc/<pid>/fd/<n> of a process that holds it open. The empty path is the
// namespace that the caller is in.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrNotNetNS is wrapped by errors about a path that exists but is no network
// namespace.
var ErrNotNetNS = errors.New("not a network namespace")

// Do runs f on a thread that is in the network namespace at path, and returns
// f's error as it is. f must not start goroutines that are to be in that
// namespace: they would run on other threads. Sockets that f opens stay in the
// namespace whoever uses them later, so it is enough to open them here.
//
// The thread is put back afterwards; if that fails it is ended and never runs
// other code. Do may be nested; an inner Do with an empty path stays in the
// namespace of the outer one.
func Do(path string, f func() error) error {
	if path == "" {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return f()
	}
	// Opened on the caller's thread: the path may speak of it, as
	// /proc/thread-self/ns/net does.
	target, err := open(path)
	if err != nil {
		return err
	}
	defer target.Close()

	enter := func() error {
		if err := netns.Set(target); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return nil
	}
	return elsewhere(enter, f)
}

// New makes a network namespace that lives until remove is called, or until
// nobody is in it and nobody else has it open. The path is good in this process
// and in others that may look into it.
func New() (path string, remove func() error, err error) {
	var made netns.NsHandle
	enter := func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace (needs CAP_SYS_ADMIN): %w", err)
		}
		return nil
	}
	err = elsewhere(enter, func() (err error) {
		made, err = netns.Get()
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(made)), made.Close, nil
}

// elsewhere runs f on a thread of its own that enter has moved.
func elsewhere(enter, f func() error) error {
	v := &visit{enter: enter, f: f, done: make(chan struct{})}
	go v.run()
	<-v.done
	switch {
	case v.panicked != nil:
		panic(v.panicked)
	case v.exited:
		runtime.Goexit()
	}
	return v.err
}

// visit is one run of a function in a namespace. It has a goroutine of its own
// because only a goroutine that ends while locked takes its thread with it.
type visit struct {
	enter, f func() error

	done     chan struct{}
	err      error
	panicked any
	// exited: f ended its goroutine (t.FailNow does), so the caller's must end.
	exited bool
}

func (v *visit) run() {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread cannot be ended, and /proc/self/ns/net speaks of it:
		// hold it here, so that another one does the visit.
		go v.run()
		<-v.done
		runtime.UnlockOSThread()
		return
	}
	defer close(v.done)

	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		v.err = fmt.Errorf("open the thread's own network namespace: %w", err)
		return
	}
	defer home.Close()
	if v.err = v.enter(); v.err != nil {
		runtime.UnlockOSThread()
		return
	}
	// Runs also when f panics or ends the goroutine. Without the unlock the
	// runtime ends the thread together with this goroutine.
	defer func() {
		if v.exited {
			v.panicked = recover()
		}
		if restore(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	v.exited = true
	v.err = v.f()
	v.exited = false
}

// restore is a variable so that a test can make it fail.
var restore = netns.Set

// Identity is what tells network namespaces apart: device and inode of the
// file at path. Two paths name the same namespace if both numbers are equal.
func Identity(path string) (dev, ino uint64, err error) {
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	ns, err := open(path)
	if err != nil {
		return 0, 0, err
	}
	defer ns.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(ns), &st); err != nil {
		return 0, 0, fmt.Errorf("stat network namespace %s: %w", path, err)
	}
	return st.Dev, st.Ino, nil
}

// NetlinkHandle opens an rtnetlink socket in the namespace at path. Any thread
// may use it, without entering the namespace; the caller closes it.
func NetlinkHandle(path string) (*netlink.Handle, error) {
	var h *netlink.Handle
	err := Do(path, func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			err = fmt.Errorf("open rtnetlink socket in network namespace %q: %w", path, err)
		}
		return err
	})
	return h, err
}

// open returns a descriptor of the network namespace at path, having checked
// that it is one: setns would only say "invalid argument".
func open(path string) (netns.NsHandle, error) {
	// Non-blocking, lest a pipe at path holds us.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return netns.None(), fmt.Errorf("open network namespace %s: %w", path, err)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		_ = unix.Close(fd)
		return netns.None(), fmt.Errorf("open network namespace %s: %w", path, ErrNotNetNS)
	}
	return netns.NsHandle(fd), nil
}
