// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What is open in the harness.
var (
	tunnel4 = netip.MustParseAddr("192.0.2.1")
	tunnel6 = netip.MustParseAddr("2001:db8::1")
	client4 = netip.MustParseAddr("192.0.2.200")
	client6 = netip.MustParseAddr("2001:db8::200")

	other4 = netip.MustParseAddr("192.0.2.2")
	other6 = netip.MustParseAddr("2001:db8::2")
)

const (
	wholePort  = 51820 // both families
	vxlanPort  = 4789  // both families, the VNIs below
	closedPort = 51821
	heldVLAN   = 300

	openVNI   = 0xabcdef
	openVNI6  = 200
	closedVNI = 0xabcdee
)

var harnessPinholes = []Pinhole{
	{tunnel4, wholePort, AnyVNI}, {tunnel6, wholePort, AnyVNI},
	{tunnel4, vxlanPort, openVNI}, {tunnel6, vxlanPort, openVNI6},
}

func requireRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: loads XDP programs and makes network namespaces")
	}
}

// namespace is a network namespace of the test alone. Nothing but its file
// descriptor keeps it.
type namespace struct{ fd int }

func newNamespace(tb testing.TB) *namespace {
	tb.Helper()
	requireRoot(tb)
	ns := &namespace{fd: -1}
	var err error
	onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = unix.Close(ns.fd) })
	return ns
}

// do runs f on a thread in the namespace. f must not end the test.
func (n *namespace) do(tb testing.TB, f func() error) {
	tb.Helper()
	require.NoError(tb, n.try(f))
}

func (n *namespace) try(f func() error) (err error) {
	onThread(func() {
		if err = unix.Setns(n.fd, unix.CLONE_NEWNET); err == nil {
			err = f()
		}
	})
	return err
}

// onThread runs f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// harness is a classifier whose program is run on frames of the test's making.
// It is attached to a loopback interface that is down, so that no other frame
// is counted.
type harness struct {
	*Classifier
	socket int
}

func newHarness(tb testing.TB) *harness {
	tb.Helper()
	ns := newNamespace(tb)
	h := &harness{}
	ns.do(tb, func() (err error) {
		h.Classifier, err = Attach(Config{Interface: "lo"})
		return err
	})
	tb.Cleanup(func() { require.NoError(tb, h.Close()) })
	for _, p := range harnessPinholes {
		require.NoError(tb, h.Open(p))
	}
	require.NoError(tb, h.OpenVLAN(heldVLAN))
	h.addSocket(tb)
	return h
}

// addSocket gives queue 0, on which frames are run, an AF_XDP socket. The
// program only asks whether there is one.
func (h *harness) addSocket(tb testing.TB) {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	skipWithoutAFXDP(tb, err)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(tb, h.Sockets().Put(uint32(0), uint32(fd)))
	h.socket = fd
}

func skipWithoutAFXDP(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, unix.EAFNOSUPPORT) {
		tb.Skip("kernel has no AF_XDP")
	}
}

// The values of enum xdp_action.
const (
	xdpPass     = 2
	xdpRedirect = 4
)

// run returns the names of the counters that the frame moved, and its verdict.
func (h *harness) run(tb testing.TB, frame []byte) (uint32, []Counter) {
	tb.Helper()
	before, err := h.Counters()
	require.NoError(tb, err)
	verdict, err := h.objects.NsmClassifier.Run(&ebpf.RunOptions{Data: frame})
	require.NoError(tb, err)
	after, err := h.Counters()
	require.NoError(tb, err)
	var moved []Counter
	for i := range after {
		after[i].Packets -= before[i].Packets
		after[i].Bytes -= before[i].Bytes
		if after[i].Packets != 0 || after[i].Bytes != 0 {
			moved = append(moved, after[i])
		}
	}
	return verdict, moved
}
