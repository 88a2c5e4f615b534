// SPDX-License-Identifier: Apache-2.0

package survivors_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/survivors"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// guarded is a connection over WireGuard, from the pod or to it.
func guarded(id string, pod plane.Kernel, fromPod bool) *plane.Connection {
	c := &plane.Connection{ID: id, Payload: plane.IP, MTU: 1400, Client: pod, Endpoint: plane.WireGuard{
		Local: netip.MustParseAddrPort("192.0.2.1:51820"), Remote: netip.MustParseAddrPort("[2001:db8::2]:51821"),
		PrivateKey: plane.Key{1, 2, 3}, PeerKey: plane.Key{4, 5, 6}, Initiator: fromPod,
	}}
	if !fromPod {
		c.Client, c.Endpoint = c.Endpoint, c.Client
	}
	return c
}

// files are the entries in a folder.
func files(t *testing.T, path string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(path, "*"))
	require.NoError(t, err)
	return all
}

func TestTunnelsOfTheProcessAreWrittenDownWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	p := newDevices()
	p.inProcess = true
	killed := keep(t, p, path, time.Hour)
	pod := plane.Kernel{Name: "nsm-1", Inode: 7, Alias: "server-1"}
	other := plane.Kernel{Name: "nsm-2", Inode: 8, Alias: "server-2"}
	all := map[string]*plane.Connection{"from": guarded("from", pod, true), "to": guarded("to", other, false)}
	for _, c := range all {
		_, err := killed.Join(context.Background(), c)
		require.NoError(t, err)
	}
	requireMode(t, path, 0o700)
	for _, f := range files(t, path) {
		requireMode(t, f, 0o600)
	}

	require.NoError(t, os.Chmod(path, 0o755))
	p = newDevices()
	p.inProcess = true
	next := keep(t, p, path, time.Hour)
	requireMode(t, path, 0o700)
	require.Equal(t, all, p.recalled)

	// Other keys are written in the place of the old ones.
	renewed := guarded("from", pod, true)
	port := renewed.Endpoint.(plane.WireGuard)
	port.PrivateKey[0]++
	renewed.Endpoint = port
	for range 2 {
		_, err := next.Join(context.Background(), renewed)
		require.NoError(t, err)
	}
	require.Len(t, files(t, path), 2)
	p = newDevices()
	p.inProcess = true
	keep(t, p, path, time.Hour)
	require.Equal(t, renewed, p.recalled["from"])

	// The connection that was resumed and not asked for ends as well.
	require.NoError(t, next.Leave(context.Background(), "to"))
	require.NoError(t, next.Leave(context.Background(), "from"))
	require.NoDirExists(t, path)
}

func requireMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode().Perm(), path)
}

// A device of Linux knows its keys.
func TestKeysOfDevicesAreNotWrittenDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	killed := keep(t, newDevices(), path, time.Hour)
	pod := plane.Kernel{Name: "nsm-1", Inode: 7, Alias: "server-1"}
	_, err := killed.Join(context.Background(), guarded("c1", pod, true))
	require.NoError(t, err)
	text, err := os.ReadFile(files(t, path)[0])
	require.NoError(t, err)
	require.NotContains(t, strings.ToLower(string(text)), "key")
	p := newDevices()
	keep(t, p, path, time.Hour)
	require.Equal(t, &plane.Connection{ID: "c1", Client: pod}, p.recalled["c1"])
}

// What the plane has resumed ends before its interface goes, whether nobody asks
// for it or somebody wants its place.
func TestResumedLinksEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	left, taken := newPod(t, "nsm-1", "server-1"), newPod(t, "nsm-2", "server-2")
	p := newDevices()
	p.inProcess = true
	killed := keep(t, p, path, time.Hour)
	for id, pod := range map[string]plane.Kernel{"left": left, "taken": taken} {
		_, err := killed.Join(context.Background(), guarded(id, pod, true))
		require.NoError(t, err)
	}
	next := keep(t, p, path, 300*time.Millisecond)
	require.Len(t, p.recalled, 2)
	_, err := next.Join(context.Background(), guarded("new", taken, true))
	require.NoError(t, err)
	require.NotContains(t, p.recalled, "taken")
	require.Eventually(t, func() bool { return !has(t, left) }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, next.Leave(context.Background(), "new"))
	require.NotContains(t, p.recalled, "left")
	require.NoDirExists(t, path)
}

// A run that has another plane, under which links end with the process, makes the
// interface its own.
func TestOrphansOfAnotherPlane(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	pod := newPod(t, "nsm-1", "server-1")
	killed := keep(t, newDevices(), path, time.Hour)
	_, err := killed.Join(context.Background(), guarded("c1", pod, true))
	require.NoError(t, err)
	next := keep(t, &pods{}, path, 100*time.Millisecond)
	_, err = next.Join(context.Background(), guarded("c1", pod, true))
	require.NoError(t, err)
	require.NoDirExists(t, path)
	time.Sleep(300 * time.Millisecond)
	require.True(t, has(t, pod), "it is not the one that was left any more")
}

func TestCloseStrikesOutWhatWasResumed(t *testing.T) {
	pod := plane.Kernel{Name: "nsm-1", Inode: 7, Alias: "server-1"}
	for _, kept := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "links")
		p := newDevices()
		p.inProcess = true
		_, err := keep(t, p, path, time.Hour).Join(context.Background(), guarded("c1", pod, true))
		require.NoError(t, err)
		k, err := survivors.Keep(p, path, kept, time.Hour, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		require.NoError(t, k.Close())
		require.Equal(t, kept, len(files(t, path)) == 1)
	}
}

// One entry that cannot be read does not keep the others from being read.
func TestFilesThatMakeNoSenseAreNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links")
	killed := keep(t, newDevices(), path, time.Hour)
	pod := plane.Kernel{Name: "nsm-1", Inode: 7, Alias: "server-1"}
	_, err := killed.Join(context.Background(), guarded("c1", pod, true))
	require.NoError(t, err)
	good := files(t, path)[0]
	text, err := os.ReadFile(good)
	require.NoError(t, err)
	bad := map[string]string{
		"half.json": "{", "foreign": "hello", "empty.json": "{}",
		"renamed.json": string(text), // somebody's copy
	}
	for name, text := range bad {
		require.NoError(t, os.WriteFile(filepath.Join(path, name), []byte(text), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(path, "folder.json"), 0o700))
	require.NoError(t, unix.Mkfifo(filepath.Join(path, "fifo.json"), 0o600))
	unfinished := strings.TrimSuffix(good, ".json") + ".next"
	require.NoError(t, os.WriteFile(unfinished, []byte("{"), 0o600))

	var log bytes.Buffer
	p := newDevices()
	_, err = survivors.Keep(p, path, false, time.Hour, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.Len(t, p.recalled, 1)
	for name := range bad {
		require.Contains(t, log.String(), filepath.Join(path, name))
		require.FileExists(t, filepath.Join(path, name))
	}
	require.Contains(t, log.String(), "folder.json")
	require.Contains(t, log.String(), "fifo.json")
	require.NotContains(t, log.String(), good)
	require.NoFileExists(t, unfinished, "a key may be in it")
}

// FuzzEntry reads files that anybody may have written. What is taken for an entry
// comes back the same when it is written down again.
func FuzzEntry(f *testing.F) {
	pod := plane.Kernel{Name: "nsm-1", Inode: 7, Alias: "server-1"}
	for _, c := range []*plane.Connection{
		guarded("a", pod, true), guarded("b", pod, false),
		{ID: "c", Client: pod, Endpoint: plane.Kernel{Name: "nse-1", Inode: 8}},
	} {
		text, err := json.Marshal(survivors.NewEntry(c))
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := survivors.Parse(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(survivors.NewEntry(c))
		require.NoError(t, err)
		d, err := survivors.Parse(again)
		require.NoError(t, err)
		require.Equal(t, c, d)
	})
}
