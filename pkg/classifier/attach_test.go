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

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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
	select {}
}

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

func TestWithoutPinsTheProgramEndsWithTheProcess(t *testing.T) {
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

// crash drops all handles as the kernel does for a killed process.
func crash(c *Classifier) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.release(nil)
}

func TestTakeOver(t *testing.T) {
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

func TestCloseLeavesTheProgramWithoutPinholes(t *testing.T) {
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

func TestForeignProgramsAreNamedAndLeftAlone(t *testing.T) {
	for _, tc := range []struct {
		name, program, owner string
		mode                 Mode
		attach               func(index int, p *ebpf.Program) error
	}{
		{"Cilium's", "cil_xdp_entry", "Cilium", Native, withLink(t, link.XDPDriverMode)},
		{"generic", "cil_xdp_entry", "Cilium", Generic, withLink(t, link.XDPGenericMode)},
		{"libxdp's by netlink", "xdp_dispatcher", "libxdp", Native, withNetlink(unix.XDP_FLAGS_DRV_MODE)},
		{"unknown by netlink", "stranger", "'stranger'", Generic, withNetlink(unix.XDP_FLAGS_SKB_MODE)},
		{"of our name, but not pinned", bpfProgNsmClassifier, "did not pin", Native, withLink(t, link.XDPDriverMode)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			p := passer(t, tc.program)
			index := l.inspect(uplinkName).Index
			l.node.do(t, func() error { return tc.attach(index, p) })
			before := l.inspect(uplinkName).Programs

			for _, mode := range []Mode{Auto, Native, Generic} {
				cfg := l.config()
				cfg.Mode = mode
				_, err := l.tryAttach(cfg)
				var foreign *ForeignProgramError
				require.ErrorAs(t, err, &foreign)
				require.Equal(t, tc.program, foreign.Program.Name)
				require.Equal(t, tc.mode, foreign.Program.Mode)
				require.Equal(t, uplinkName, foreign.Interface)
				require.Equal(t, before[0].ID, foreign.Program.ID)
				require.ErrorContains(t, err, tc.owner)
			}
			require.Equal(t, before, l.inspect(uplinkName).Programs)
			require.NoDirExists(t, l.pinDir)
		})
	}
}

func withLink(t *testing.T, flags link.XDPAttachFlags) func(int, *ebpf.Program) error {
	return func(index int, p *ebpf.Program) error {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: flags})
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}
}

func withNetlink(flags int) func(int, *ebpf.Program) error {
	return func(index int, p *ebpf.Program) error {
		l, err := netlink.LinkByIndex(index)
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFdWithFlags(l, p.FD(), flags)
	}
}

func TestAForeignProgramThatReplacedOurs(t *testing.T) {
	l := newLab(t)
	c := l.attach(l.config())
	require.NoError(t, c.link.Detach())
	attached, err := c.Attached()
	require.NoError(t, err)
	require.False(t, attached)
	index := l.inspect(uplinkName).Index
	l.node.do(t, func() error { return withLink(t, link.XDPDriverMode)(index, passer(t, "stranger")) })

	_, err = l.tryAttach(l.config())
	var foreign *ForeignProgramError
	require.ErrorAs(t, err, &foreign)
	require.Equal(t, "stranger", foreign.Program.Name)
	require.Empty(t, names(t, l.pinDir), "pins of the detached link are removed")
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

func deleteLink(name string) func() error {
	return func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}
}

func TestTheInterfaceIsDeleted(t *testing.T) {
	l := newLab(t)
	c := l.attach(l.config())
	require.NoError(t, c.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	attached, err := c.Attached()
	require.NoError(t, err)
	require.True(t, attached)

	l.node.do(t, deleteLink(uplinkName))
	attached, err = c.Attached()
	require.NoError(t, err)
	require.False(t, attached)
	require.NoError(t, c.ClosePinhole(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.NoError(t, c.Detach())
	require.NoDirExists(t, l.pinDir)
}

func TestPinsOfADeletedInterfaceAreRemoved(t *testing.T) {
	l := newLab(t)
	require.NoError(t, crash(l.attach(l.config())))
	l.node.do(t, deleteLink(uplinkName))
	_, err := l.tryAttach(l.config())
	require.ErrorAs(t, err, new(netlink.LinkNotFoundError))

	l.makeWire("other0")
	require.NoError(t, os.Mkdir(filepath.Join(l.pinDir, "stranger"), 0o700))
	c := l.attach(Config{Interface: "other0", PinDir: l.pinDir})
	require.ElementsMatch(t, []string{"other0", "stranger"}, names(t, l.pinDir))
	require.NoError(t, c.Detach())
	require.Equal(t, []string{"stranger"}, names(t, l.pinDir), "what others put there is theirs")
}

func TestAnInterfaceOfTheSameNameComesBack(t *testing.T) {
	l := newLab(t)
	require.NoError(t, crash(l.attach(l.config())))
	l.node.do(t, deleteLink(uplinkName))
	l.makeWire(uplinkName)
	c := l.attach(l.config())
	require.Zero(t, count(t, c, "pass_no_pinhole"))
	require.Len(t, l.inspect(uplinkName).Programs, 1)
	l.requireTCP()
}

func TestTheInterfaceIsRenamed(t *testing.T) {
	l := newLab(t)
	require.NoError(t, crash(l.attach(l.config())))
	before := pinnedLinkID(t, l)
	l.node.do(t, func() error {
		ln, err := netlink.LinkByName(uplinkName)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(ln), netlink.LinkSetName(ln, "up0.7"), netlink.LinkSetUp(ln))
	})
	c := l.attach(Config{Interface: "up0.7", PinDir: l.pinDir})
	require.Equal(t, []string{"up0%2e7"}, names(t, l.pinDir))
	info, err := c.link.Info()
	require.NoError(t, err)
	require.Equal(t, before, info.ID)
}

func TestPinsOfANamesakeInAnotherNamespaceAreLeftAlone(t *testing.T) {
	l, other := newLab(t), newLab(t)
	first := l.attach(l.config())
	// The second veth is made the same way and so has the same index.
	require.Equal(t, first.Index(), other.inspect(uplinkName).Index)
	_, err := other.tryAttach(l.config())
	require.ErrorContains(t, err, "another network namespace")
	require.Empty(t, other.inspect(uplinkName).Programs)

	unpinned := other.attach(Config{Interface: uplinkName})
	_, err = other.tryAttach(l.config())
	require.ErrorContains(t, err, "another network namespace", "also if a program of our name is there")
	require.NoError(t, unpinned.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.NoError(t, first.Open(Pinhole{uplinkAddr, wholePort, AnyVNI}))
	require.NoError(t, first.Detach())
}

func TestPinsNeedABPFFileSystem(t *testing.T) {
	l := newLab(t)
	cfg := l.config()
	cfg.PinDir = filepath.Join(t.TempDir(), "nsm")
	_, err := l.tryAttach(cfg)
	require.ErrorContains(t, err, "not on a bpffs")
	require.Empty(t, l.inspect(uplinkName).Programs)
}

func TestModeOfAPinnedProgramIsChangedOnDemandOnly(t *testing.T) {
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

func TestAStartThatWasInterruptedIsCleanedUp(t *testing.T) {
	l := newLab(t)
	c := l.attach(l.config())
	require.NoError(t, c.link.Detach())
	require.NoError(t, crash(c))
	dir := PinPath(l.pinDir, uplinkName)
	require.NoError(t, os.Remove(filepath.Join(dir, pinLink)))
	require.NoError(t, os.Remove(filepath.Join(dir, bpfMapPinholes)))
	l.attach(l.config())
	require.ElementsMatch(t, append([]string{pinLink}, mapNames...), names(t, dir))
}

func TestInspectTellsWhatTheDriverCan(t *testing.T) {
	l := newLab(t)
	s := l.inspect(uplinkName)
	require.Empty(t, s.Programs)
	if !s.Support.Known {
		t.Skip("kernel before 6.3 does not tell XDP features")
	}
	require.True(t, s.Support.Native)
	require.True(t, s.Support.Redirect)
	require.False(t, s.Support.ZeroCopy, "veth has none")
	lo := l.inspect("lo")
	require.False(t, lo.Support.Native)

	l.node.do(t, func() error {
		_, err := Inspect("nothing0")
		require.ErrorAs(t, err, new(netlink.LinkNotFoundError))
		return nil
	})
}
