// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
)

// childPins tells the test binary to be a forwarder that gets killed.
const childPins = "CLASSIFIER_TEST_PIN_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childPins); dir != "" {
		beKilled(dir)
	}
	os.Exit(m.Run())
}

func beKilled(pinDir string) {
	c, err := Attach(Config{Interface: uplinkName, PinDir: pinDir})
	if err == nil {
		err = errors.Join(c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}), c.OpenVLAN(heldVLAN))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	time.Sleep(5 * time.Minute) // with a timer, the runtime sees no deadlock
}

// crash drops all handles as the kernel does for a killed process.
func crash(c *Classifier) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.release(nil)
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	linux := l.listen(wholePort)
	server, client := l.connect()
	t.Cleanup(func() { _ = server.Close(); _ = client.Close() })

	first := l.attach(l.config())
	require.NoError(t, first.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	r := l.newReceiver(first)
	l.send(wholePort, []byte("one"))
	r.receive(t)
	before := l.inspect(uplinkName).Programs[0].ID
	linkBefore := pinnedLinkID(t, l)
	require.NoError(t, crash(first))

	require.Equal(t, before, l.inspect(uplinkName).Programs[0].ID, "the program outlives its process")
	l.send(wholePort, []byte("two"))
	r.receive(t)
	requireTalk(t, server, client)

	second := l.attach(l.config())
	programs := l.inspect(uplinkName).Programs
	require.Len(t, programs, 1)
	require.NotEqual(t, before, programs[0].ID, "the program is replaced")
	require.Equal(t, linkBefore, pinnedLinkID(t, l), "the link stays")
	require.Equal(t, Native, second.Mode())
	require.Empty(t, second.Pinholes())
	require.EqualValues(t, 2, count(t, second, "redirect_pinhole"), "counters go on")
	requireTalk(t, server, client)

	l.send(wholePort, []byte("three"))
	requireArrival(t, linux, []byte("three"))
	require.NoError(t, second.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	l.send(wholePort, []byte("four"))
	frame := r.receive(t)
	require.Equal(t, "four", string(frame[len(frame)-4:]), "the socket of the map is still there")
}

func pinnedLinkID(t *testing.T, l *lab) link.ID {
	t.Helper()
	ln, err := link.LoadPinnedLink(filepath.Join(PinPath(l.pinDir, uplinkName), pinLink), nil)
	require.NoError(t, err)
	defer ln.Close()
	info, err := ln.Info()
	require.NoError(t, err)
	return info.ID
}

func TestTakeOverAfterKill(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	server, client := l.connect()
	t.Cleanup(func() { _ = server.Close(); _ = client.Close() })
	linux := l.listen(wholePort)

	kill := l.runForwarder(exec.Command(os.Args[0]))
	requireTalk(t, server, client)
	kill()
	require.Len(t, l.inspect(uplinkName).Programs, 1)
	requireTalk(t, server, client)

	c := l.attach(l.config())
	l.send(wholePort, []byte("late"))
	requireArrival(t, linux, []byte("late"))
	require.Zero(t, count(t, c, "redirect_pinhole"))
	require.Zero(t, count(t, c, "pass_no_socket"), "the pinhole of the killed process is gone")
	requireTalk(t, server, client)
	require.NoError(t, c.Detach())
	require.NoDirExists(t, l.pinDir)
}

// runForwarder starts another process that attaches and opens a pinhole. kill
// ends it in the way that leaves no time to tidy up.
func (l *lab) runForwarder(child *exec.Cmd) (kill func()) {
	l.tb.Helper()
	child.Env = append(os.Environ(), childPins+"="+l.pinDir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(l.tb, err)
	l.node.do(l.tb, child.Start)
	l.tb.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	said, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(l.tb, err)
	require.Equal(l.tb, "ready\n", said)
	return func() {
		require.NoError(l.tb, child.Process.Kill())
		require.ErrorContains(l.tb, child.Wait(), "killed")
	}
}

func TestThreeCapabilitiesAreEnough(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("setpriv is not installed")
	}
	for range 2 { // attach, then take over
		l.runForwarder(exec.Command(setpriv, "--bounding-set=-all,+bpf,+net_admin,+perfmon", os.Args[0]))()
		require.Len(t, l.inspect(uplinkName).Programs, 1)
	}
	counters, err := PinnedCounters(l.pinDir, uplinkName)
	require.NoError(t, err)
	require.Len(t, counters, len(reasons))
	require.NoError(t, Uninstall(l.pinDir, uplinkName))
	_, err = PinnedCounters(l.pinDir, uplinkName)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestTakeOverRemakesMapsItCannotUse(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	require.NoError(t, crash(l.attach(l.config())))
	dir := PinPath(l.pinDir, uplinkName)
	for _, name := range []string{bpfMapCounters, bpfMapPinholes} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 2, ValueSize: 2, MaxEntries: 1})
		require.NoError(t, err)
		require.NoError(t, m.Pin(filepath.Join(dir, name)))
		require.NoError(t, m.Close())
	}
	require.NoError(t, os.Remove(filepath.Join(dir, bpfMapVlans)))

	c := l.attach(l.config())
	linux := l.listen(wholePort)
	l.send(wholePort, []byte("hello"))
	requireArrival(t, linux, []byte("hello"))
	require.NotZero(t, count(t, c, "pass_no_pinhole"))
	for name, m := range c.objects.byName() {
		pinned, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		require.NoError(t, err)
		require.Equal(t, mapID(t, m), mapID(t, pinned), name)
		require.NoError(t, pinned.Close())
	}
	require.ElementsMatch(t, append([]string{pinLink}, mapNames...), names(t, dir))
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	require.NoError(t, err)
	id, ok := info.ID()
	require.True(t, ok)
	return id
}

func TestCloseLeavesTheProgramWithoutPinholes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	linux := l.listen(wholePort)
	c := l.attach(l.config())
	l.newReceiver(c)
	require.NoError(t, c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.NoError(t, c.OpenVLAN(heldVLAN))
	require.NoError(t, c.Close())
	require.Len(t, l.inspect(uplinkName).Programs, 1)
	l.send(wholePort, []byte("to Linux"))
	requireArrival(t, linux, []byte("to Linux"))
	maps, err := c.pins.loadMaps()
	require.NoError(t, err)
	t.Cleanup(func() { closeMaps(maps) })
	for _, name := range []string{bpfMapPinholes, bpfMapVlans} {
		require.ErrorIs(t, maps[name].NextKey(nil, new([]byte)), ebpf.ErrKeyNotExist, name)
	}
}

func TestTheOneThatWasTakenOverKeepsItsHandsOff(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*Classifier) error
		want error
	}{{"close", (*Classifier).Close, nil}, {"detach", (*Classifier).Detach, ErrTakenOver}} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			p := Pinhole{uplinkAddr, wholePort, AnyVNI}
			first := l.attach(l.config())
			require.NoError(t, first.Open(p))
			second := l.attach(l.config())
			require.NoError(t, second.Open(p))

			require.ErrorIs(t, first.Open(p), ErrTakenOver)
			require.ErrorIs(t, first.ClosePinhole(p), ErrTakenOver)
			require.ErrorIs(t, first.OpenVLAN(heldVLAN), ErrTakenOver)
			require.ErrorIs(t, tc.end(first), tc.want)
			r := l.newReceiver(second)
			l.send(wholePort, []byte("still redirected"))
			r.receive(t)
		})
	}
}

func TestModeOfAPinnedProgramIsChangedOnDemandOnly(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg := l.config()
	cfg.Mode = Generic
	require.NoError(t, crash(l.attach(cfg)))
	cfg.Mode = Auto
	c := l.attach(cfg)
	require.Equal(t, Generic, c.Mode())
	require.NoError(t, crash(c))
	cfg.Mode = Native
	c = l.attach(cfg)
	require.Equal(t, Native, c.Mode())
	programs := l.inspect(uplinkName).Programs
	require.Len(t, programs, 1)
	require.Equal(t, Native, programs[0].Mode)
}

func TestAFailedTakeOverLeavesTheEarlierProgram(t *testing.T) {
	for _, s := range []step{stepLoad, stepPinMaps, stepForget, stepUpdate, stepRename} {
		t.Run(strings.ReplaceAll(string(s), " ", "_"), func(t *testing.T) {
			l := newLab(t)
			require.NoError(t, crash(l.attach(l.config())))
			dir := PinPath(l.pinDir, uplinkName)
			require.NoError(t, os.Remove(filepath.Join(dir, bpfMapVnis))) // to be made anew
			pinned := names(t, dir)
			before := l.inspect(uplinkName).Programs
			handles := bpfHandles(t)

			cfg := l.config()
			cfg.fault = failAt(s)
			_, err := l.tryAttach(cfg)
			require.ErrorIs(t, err, errInjected)
			require.NotContains(t, err.Error(), "undo")
			require.Equal(t, before, l.inspect(uplinkName).Programs)
			if s != stepRename { // by then the new map has its name
				require.Equal(t, pinned, names(t, dir))
			}
			require.Equal(t, handles, bpfHandles(t))
			l.requireTCP()
			l.attach(l.config())
			require.ElementsMatch(t, append([]string{pinLink}, mapNames...), names(t, dir))
		})
	}
}
