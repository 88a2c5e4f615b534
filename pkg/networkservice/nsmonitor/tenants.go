// SPDX-License-Identifier: Apache-2.0

package nsmonitor

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// namespace identifies a network namespace.
type namespace struct{ dev, ino uint64 }

// tenants watches network namespaces and tells when the last process of one is
// gone. It sleeps in the kernel on a pidfd of one process per namespace, and
// looks through /proc only when that process ends.
type tenants struct {
	epoll int
	wake  int // eventfd that ends the watcher

	mu      sync.Mutex
	watched map[namespace]*watch
	byFD    map[int32]namespace
	done    chan struct{}
}

type watch struct {
	pidfd int
	gone  map[string]func() // by connection
}

func newTenants(ctx context.Context) (*tenants, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	t := &tenants{
		epoll: epoll, wake: wake,
		watched: map[namespace]*watch{}, byFD: map[int32]namespace{}, done: make(chan struct{}),
	}
	if err := t.await(wake); err != nil {
		_ = unix.Close(epoll)
		_ = unix.Close(wake)
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	context.AfterFunc(ctx, func() { _, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	go t.run()
	return t, nil
}

func (t *tenants) await(fd int) error {
	return unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// add calls gone, once and on a goroutine of its own, when no process is left
// in the namespace. A namespace in which no process can be seen to begin with
// is not watched: the forwarder may lack the host's PID namespace.
func (t *tenants) add(ns namespace, id string, gone func()) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, ok := t.watched[ns]; ok {
		w.gone[id] = gone
		return nil
	}
	pidfd := findTenant(ns)
	if pidfd < 0 {
		return nil
	}
	if err := t.await(pidfd); err != nil {
		_ = unix.Close(pidfd)
		return fmt.Errorf("watch network namespace %d: %w", ns.ino, err)
	}
	t.watched[ns] = &watch{pidfd: pidfd, gone: map[string]func(){id: gone}}
	t.byFD[int32(pidfd)] = ns
	return nil
}

func (t *tenants) remove(ns namespace, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, ok := t.watched[ns]
	if !ok {
		return
	}
	delete(w.gone, id)
	if len(w.gone) == 0 {
		t.forget(ns, w)
	}
}

// forget ends the watch of a namespace. t.mu is held.
func (t *tenants) forget(ns namespace, w *watch) {
	delete(t.watched, ns)
	delete(t.byFD, int32(w.pidfd))
	_ = unix.Close(w.pidfd) // also takes it out of the epoll set
}

func (t *tenants) run() {
	defer close(t.done)
	events := make([]unix.EpollEvent, 16)
	for {
		n, err := unix.EpollWait(t.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, e := range events[:max(0, n)] {
			if int(e.Fd) == t.wake {
				t.close()
				return
			}
			t.ended(e.Fd)
		}
	}
}

// ended looks for another process in the namespace of one that has ended.
func (t *tenants) ended(fd int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns, ok := t.byFD[fd]
	if !ok {
		return
	}
	w := t.watched[ns]
	pidfd := findTenant(ns)
	if pidfd >= 0 && t.await(pidfd) == nil {
		delete(t.byFD, fd)
		_ = unix.Close(w.pidfd)
		w.pidfd = pidfd
		t.byFD[int32(pidfd)] = ns
		return
	}
	if pidfd >= 0 {
		_ = unix.Close(pidfd)
	}
	t.forget(ns, w)
	for _, gone := range w.gone {
		go gone()
	}
}

func (t *tenants) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ns, w := range t.watched {
		t.forget(ns, w)
	}
	_ = unix.Close(t.epoll)
	_ = unix.Close(t.wake)
}

// findTenant returns a pidfd of some process in the namespace, -1 if there is
// none.
func findTenant(ns namespace) int {
	for pid := range netns.Processes(ns.dev, ns.ino) {
		if pid == os.Getpid() {
			continue
		}
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended meanwhile
		}
		// The pid may have changed hands between the two looks.
		if netns.Holds(pid, ns.dev, ns.ino) {
			return pidfd
		}
		_ = unix.Close(pidfd)
	}
	return -1
}
