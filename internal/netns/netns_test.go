// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	deadline = 5 * time.Second
	poll     = time.Millisecond
)

// namespace makes a network namespace that lives as long as the test, and
// returns a path to it.
func namespace(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	path, closeNS, err := New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = closeNS() })
	return path
}

func identity(t testing.TB, path string) string {
	t.Helper()
	dev, ino, err := Identity(path)
	require.NoError(t, err)
	return fmt.Sprintf("%d:%d", dev, ino)
}

func openFiles(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

// strayThreads counts the threads of this process that are in the namespace.
func strayThreads(t testing.TB, path string) int {
	t.Helper()
	want := identity(t, path)
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	require.NoError(t, err)
	stray := 0
	for _, task := range tasks {
		dev, ino, err := Identity(task)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread ended meanwhile
		}
		require.NoError(t, err)
		if fmt.Sprintf("%d:%d", dev, ino) == want {
			stray++
		}
	}
	return stray
}

func TestDoRunsInsideAndComesBack(t *testing.T) {
	path, home := namespace(t), identity(t, "")
	require.NotEqual(t, home, identity(t, path))

	var inside string
	require.NoError(t, Do(path, func() error {
		inside = identity(t, "")
		return nil
	}))
	require.Equal(t, identity(t, path), inside)
	require.Equal(t, home, identity(t, ""))
	require.Zero(t, strayThreads(t, path))
}

func TestDoNests(t *testing.T) {
	outer, inner := namespace(t), namespace(t)
	require.NoError(t, Do(outer, func() error {
		require.NoError(t, Do("", func() error {
			require.Equal(t, identity(t, outer), identity(t, ""), "the empty path stays in the outer namespace")
			return nil
		}))
		require.NoError(t, Do(inner, func() error {
			require.Equal(t, identity(t, inner), identity(t, ""))
			return nil
		}))
		require.Equal(t, identity(t, outer), identity(t, ""))
		return Do("/proc/thread-self/ns/net", func() error {
			require.Equal(t, identity(t, outer), identity(t, ""), "the path is read on the caller's thread")
			return nil
		})
	}))
}

func TestDoFromManyGoroutines(t *testing.T) {
	paths := []string{namespace(t), namespace(t), namespace(t)}
	home := identity(t, "")
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			path := paths[i%len(paths)]
			err := Do(path, func() error {
				if got := identity(t, ""); got != identity(t, path) {
					return fmt.Errorf("in %s", got)
				}
				return nil
			})
			if err != nil || identity(t, "") != home {
				t.Errorf("visit of %s: %v; then in %s", path, err, identity(t, ""))
			}
		})
	}
	group.Wait()
	for _, path := range paths {
		require.Zero(t, strayThreads(t, path))
	}
}

func TestDoReturnsTheErrorOfTheFunction(t *testing.T) {
	want := errors.New("as it is")
	require.Same(t, want, Do(namespace(t), func() error { return want }))
	require.Same(t, want, Do("", func() error { return want }))
}

func TestPanicAndExitReachTheCaller(t *testing.T) {
	path, files := namespace(t), openFiles(t)
	require.PanicsWithValue(t, "boom", func() { _ = Do(path, func() error { panic("boom") }) })

	ended := make(chan bool)
	go func() {
		defer close(ended)
		_ = Do(path, func() error { runtime.Goexit(); return nil })
		ended <- false
	}()
	_, ranOn := <-ended
	require.False(t, ranOn, "code after Do ran although the function ended its goroutine")
	require.Zero(t, strayThreads(t, path))
	require.Equal(t, files, openFiles(t))
}

func TestThreadThatCannotComeBackIsDiscarded(t *testing.T) {
	path, home := namespace(t), identity(t, "")
	broken := restore
	restore = func(vnetns.NsHandle) error { return unix.EPERM }
	t.Cleanup(func() { restore = broken })

	var tid int
	require.NoError(t, Do(path, func() error { tid = unix.Gettid(); return nil }))
	require.Equal(t, home, identity(t, ""))
	require.Eventually(t, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
		return errors.Is(err, fs.ErrNotExist)
	}, deadline, poll, "thread %d lives on in %s", tid, path)
	require.Zero(t, strayThreads(t, path))
}

func TestBadPathsAreNamed(t *testing.T) {
	namespace(t) // skips where there is no root
	dir := t.TempDir()
	plain, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for name, c := range map[string]struct {
		path string
		is   error
	}{
		"a path that does not exist":         {filepath.Join(dir, "none"), fs.ErrNotExist},
		"a plain file":                       {plain, ErrNotNetNS},
		"a pipe that no one writes":          {fifo, ErrNotNetNS},
		"a namespace of another kind":        {"/proc/self/ns/uts", ErrNotNetNS},
		"a directory":                        {dir, ErrNotNetNS},
		"a process that does not exist":      {"/proc/4194305/ns/net", fs.ErrNotExist},
		"a descriptor that is not open":      {"/proc/self/fd/99999", fs.ErrNotExist},
		"a path with a component too much":   {filepath.Join(plain, "x"), syscall.ENOTDIR},
		"a descriptor of something not nsfs": {"/proc/self/fd/0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			files := openFiles(t)
			ran := false
			errs := []error{Do(c.path, func() error { ran = true; return nil })}
			_, _, err := Identity(c.path)
			errs = append(errs, err)
			_, err = NetlinkHandle(c.path)
			for _, err := range append(errs, err) {
				require.Error(t, err)
				require.True(t, strings.Contains(err.Error(), c.path), "%q does not name the path", err)
				if c.is != nil {
					require.ErrorIs(t, err, c.is)
				}
			}
			require.False(t, ran)
			require.Equal(t, files, openFiles(t))
		})
	}
}

func TestNetlinkHandleWorksFromOutside(t *testing.T) {
	path := namespace(t)
	files := openFiles(t)
	h, err := NetlinkHandle(path)
	require.NoError(t, err)
	require.NoError(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "inside"}, PeerName: "peer"}))
	_, err = h.LinkByName("inside")
	require.NoError(t, err)
	_, err = netlink.LinkByName("inside")
	var notFound netlink.LinkNotFoundError
	require.ErrorAs(t, err, &notFound, "the link was made in our own namespace")
	h.Close()
	require.Equal(t, files, openFiles(t))
}

func TestNewNamespaceGoesWithItsDescriptor(t *testing.T) {
	namespace(t)
	files, home := openFiles(t), identity(t, "")
	path, closeNS, err := New()
	require.NoError(t, err)
	require.NotEqual(t, home, identity(t, path))
	require.Equal(t, home, identity(t, ""))
	require.Zero(t, strayThreads(t, path))
	require.NoError(t, closeNS())
	require.ErrorIs(t, Do(path, func() error { return nil }), fs.ErrNotExist)
	require.Equal(t, files, openFiles(t))
}

func BenchmarkDo(b *testing.B) {
	path := namespace(b)
	for b.Loop() {
		if err := Do(path, func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
