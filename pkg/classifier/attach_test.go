// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestTunnelFramesGoToTheSocketAndAllElseToLinux(t *testing.T) {
	for _, mode := range []Mode{Native, Generic} {
		t.Run(mode.String(), func(t *testing.T) {
			l := newLab(t)
			c := l.attach(Config{Interface: uplinkName, Mode: mode})
			require.Equal(t, mode, c.Mode())
			programs := l.inspect(uplinkName).Programs
			require.Len(t, programs, 1)
			require.True(t, programs[0].Ours())
			require.Equal(t, mode, programs[0].Mode)

			linux := l.listen(wholePort)
			message := []byte("a datagram of the tunnel")
			l.send(wholePort, message)
			requireArrival(t, linux, message)
			require.NotZero(t, count(t, c, "pass_no_pinhole"))

			require.NoError(t, c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
			l.send(wholePort, message)
			requireArrival(t, linux, message)
			require.EqualValues(t, 1, count(t, c, "pass_no_socket"))

			r := l.newReceiver(c)
			l.send(wholePort, message)
			frame := r.receive(t)
			require.Equal(t, message, frame[len(frame)-len(message):])
			l.requireNothing(linux)
			l.requireTCP()

			r.close()
			l.send(wholePort, message)
			requireArrival(t, linux, message)
			require.EqualValues(t, 1, count(t, c, "redirect_pinhole"))
		})
	}
}

// The driver refuses programs that cannot take frames of several buffers at
// this MTU.
func TestJumboFrames(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, end := range []struct {
		ns   *namespace
		name string
	}{{l.node, uplinkName}, {l.peer, "far0"}} {
		end.ns.do(t, func() error {
			ln, err := netlink.LinkByName(end.name)
			return errors.Join(err, netlink.LinkSetMTU(ln, 9000))
		})
	}
	c := l.attach(Config{Interface: uplinkName, Mode: Native})
	linux := l.listen(wholePort)
	message := []byte(strings.Repeat("jumbo", 1600))
	l.send(wholePort, message)
	requireArrival(t, linux, message)
	before, err := c.Counters()
	require.NoError(t, err)
	require.NoError(t, c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	l.send(wholePort, message)
	requireArrival(t, linux, message)
	after, err := c.Counters()
	require.NoError(t, err)
	const i = bpfReasonREASON_PASS_NO_SOCKET
	require.EqualValues(t, 1, after[i].Packets-before[i].Packets)
	require.EqualValues(t, 14+20+8+len(message), after[i].Bytes-before[i].Bytes)
	l.requireTCP()
}

func TestManyAttachAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const many = 6
	classifiers := make(chan *Classifier, many)
	errs := make(chan error, many)
	for range many {
		go func() {
			c, err := l.tryAttach(l.config())
			classifiers <- c
			errs <- err
		}()
	}
	var attached []*Classifier
	for range many {
		require.NoError(t, <-errs)
		c := <-classifiers
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		attached = append(attached, c)
	}
	owners := 0
	for _, c := range attached {
		ours, err := c.ours()
		require.NoError(t, err)
		if ours {
			owners++
		}
	}
	require.Equal(t, 1, owners, "the last one took over from all others")
	programs := l.inspect(uplinkName).Programs
	require.Len(t, programs, 1)
	require.ElementsMatch(t, append([]string{pinLink}, mapNames...), names(t, PinPath(l.pinDir, uplinkName)))
}

func TestManyAttachAndDetachAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const many, rounds = 4, 5
	errs := make(chan error, many)
	for range many {
		go func() {
			errs <- func() error {
				for range rounds {
					c, err := l.tryAttach(l.config())
					if err != nil {
						return err
					}
					if err := c.Detach(); err != nil && !errors.Is(err, ErrTakenOver) {
						return err
					}
				}
				return nil
			}()
		}()
	}
	var all []error
	for range many {
		all = append(all, <-errs)
	}
	require.NoError(t, errors.Join(all...))
	require.Empty(t, l.inspect(uplinkName).Programs, "the last owner detached")
	require.NoDirExists(t, l.pinDir)
}

func TestDetachAfterTheTakerDetachedLeavesNoFolder(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.attach(l.config())
	second := l.attach(l.config())
	require.NoError(t, second.Detach())
	require.ErrorIs(t, first.Detach(), ErrTakenOver)
	require.NoDirExists(t, l.pinDir)
}

func TestWithoutPinsTheProgramEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.attach(Config{Interface: uplinkName})
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "closing twice is no error")
	require.Empty(t, l.inspect(uplinkName).Programs)
	_, err := c.Counters()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}), ErrClosed)
	require.ErrorIs(t, c.Detach(), ErrClosed)
}

func TestGenericModeWhereThereIsNoNative(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	ns.do(t, func() error {
		c, err := Attach(Config{Interface: "lo"})
		require.NoError(t, err)
		require.Equal(t, Generic, c.Mode())
		require.NoError(t, c.Close())
		_, err = Attach(Config{Interface: "lo", Mode: Native})
		require.ErrorIs(t, err, unix.EOPNOTSUPP)
		return nil
	})
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestDetachLeavesNothing(t *testing.T) {
	l := newLab(t)
	handles := bpfHandles(t)
	c := l.attach(l.config())
	program := c.program
	require.NoError(t, c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.ElementsMatch(t, append([]string{pinLink}, mapNames...), names(t, PinPath(l.pinDir, uplinkName)))
	require.NoError(t, c.Detach())
	require.Empty(t, l.inspect(uplinkName).Programs)
	require.NoDirExists(t, l.pinDir)
	require.Equal(t, handles, bpfHandles(t))
	requireProgramGone(t, program)
	l.requireTCP()
}

// requireProgramGone waits: the kernel frees programs when no processor can
// run them any more.
func requireProgramGone(t *testing.T, id ebpf.ProgramID) {
	t.Helper()
	require.Eventually(t, func() bool {
		p, err := ebpf.NewProgramFromID(id)
		if err == nil {
			_ = p.Close()
		}
		return errors.Is(err, fs.ErrNotExist)
	}, patience, patience/1000, "program %d is still loaded", id)
}

func TestUninstall(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c := l.attach(l.config())
	program := c.program
	require.NoError(t, crash(c))
	require.NoError(t, Uninstall(l.pinDir, uplinkName))
	require.Empty(t, l.inspect(uplinkName).Programs)
	require.NoDirExists(t, l.pinDir)
	requireProgramGone(t, program)
	require.NoError(t, Uninstall(l.pinDir, uplinkName), "there is nothing to uninstall")
}

var errInjected = errors.New("injected")

func failAt(s step) func(step) error {
	return func(at step) error {
		if at == s {
			return errInjected
		}
		return nil
	}
}

func TestAFailedAttachLeavesNothing(t *testing.T) {
	for _, s := range []step{stepLoad, stepFolder, stepPinMaps, stepAttach, stepPinLink} {
		t.Run(strings.ReplaceAll(string(s), " ", "_"), func(t *testing.T) {
			l := newLab(t)
			handles := bpfHandles(t)
			cfg := l.config()
			cfg.fault = failAt(s)
			_, err := l.tryAttach(cfg)
			require.ErrorIs(t, err, errInjected)
			require.NotContains(t, err.Error(), "undo")
			require.NoDirExists(t, l.pinDir)
			require.Empty(t, l.inspect(uplinkName).Programs)
			require.Equal(t, handles, bpfHandles(t))
			l.attach(l.config())
		})
	}
}
