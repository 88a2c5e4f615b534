// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	ns "github.com/nsm-afxdp/forwarder/internal/netns"
)

// netnsDir is where ip(8) looks for named network namespaces.
const netnsDir = "/run/netns"

// Namespace is a network namespace with a name that ip(8) knows.
type Namespace struct {
	Name string
	// Path of the file that keeps the namespace.
	Path string
}

// newNamespace makes a network namespace with its loopback up.
func newNamespace(name string) (*Namespace, error) {
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespace afterwards and ends with this
		// goroutine, because it is never unlocked.
		runtime.LockOSThread()
		handle, err := netns.NewNamed(name)
		if err == nil {
			_ = handle.Close()
			err = raiseLoopback()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return &Namespace{Name: name, Path: filepath.Join(netnsDir, name)}, nil
}

func raiseLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// remove deletes the namespace's name. The namespace itself goes when the last
// process and descriptor has left it.
func (n *Namespace) remove() error {
	err := unix.Unmount(n.Path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = nil
	}
	if removeErr := os.Remove(n.Path); !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	if err != nil {
		return fmt.Errorf("remove network namespace %s: %w", n.Name, err)
	}
	return nil
}

// evict kills the processes that are in the namespace.
func (n *Namespace) evict() {
	dev, ino, err := ns.Identity(n.Path)
	if err != nil {
		return // only the name was left
	}
	for pid := range ns.Processes(dev, ino) {
		if pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// Namespaces and folders of a lab carry the number of the process that made
// them, so that those of a killed one can be told.
const namePrefix = "nsm-"

func labName(tag string, pid int) string { return fmt.Sprintf("%s%s-%d", namePrefix, tag, pid) }

// Sweep removes processes, namespaces, mounts and folders that labs with this
// tag left behind when they were killed.
func Sweep(tag string) error {
	var errs []error
	names, err := filepath.Glob(filepath.Join(netnsDir, namePrefix+tag+"-*"))
	if err != nil {
		return err
	}
	for _, path := range names {
		if stale(filepath.Base(path), tag) {
			n := Namespace{Name: filepath.Base(path), Path: path}
			n.evict()
			errs = append(errs, n.remove())
		}
	}
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), namePrefix+tag+"-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if stale(filepath.Base(dir), tag) {
			errs = append(errs, removeDir(dir))
		}
	}
	return errors.Join(errs...)
}

// stale reports whether the process that a name belongs to has ended.
func stale(name, tag string) bool {
	rest := strings.TrimPrefix(name, namePrefix+tag+"-")
	digits, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(digits)
	return err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// removeDir unmounts what is mounted below dir and removes it.
func removeDir(dir string) error {
	mounts, err := filepath.Glob(filepath.Join(dir, "*", "bpf"))
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	return os.RemoveAll(dir)
}

// sequence numbers the labs of this process.
var sequence atomic.Int64
