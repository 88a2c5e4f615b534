// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

const wgPort = 51820

func newKey(t *testing.T) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return k
}

// startPeer runs Debian's wireguard-go on the peer's node and returns its
// public key.
func (w *world) startPeer(t *testing.T, ours *ecdh.PublicKey) plane.Key {
	t.Helper()
	requireTool(t, "wireguard-go")
	requireTool(t, "wg")
	key := newKey(t)
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key.Bytes())), 0o600))

	// Names of its control socket are the machine's, not the namespace's.
	device := fmt.Sprintf("wg%d", os.Getpid())
	daemon := exec.Command("wireguard-go", "-f", device)
	daemon.Env = append(os.Environ(), "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1", "LOG_LEVEL=verbose")
	started := newWatch("UAPI listener started")
	daemon.Stdout, daemon.Stderr = started, started
	require.NoError(t, netns.Do(w.peer, daemon.Start))
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
		if t.Failed() {
			t.Log(started)
		}
	})
	started.await(t)
	w.run(t, w.peer, "wg", "set", device, "listen-port", fmt.Sprint(wgPort), "private-key", file,
		"peer", base64.StdEncoding.EncodeToString(ours.Bytes()),
		"endpoint", netip.AddrPortFrom(w.ours, wgPort).String(), "allowed-ips", "0.0.0.0/0,::/0")
	w.run(t, w.peer, "ip", "addr", "add", peerAddr.String(), "dev", device)
	w.run(t, w.peer, "ip", "link", "set", device, "mtu", fmt.Sprint(w.wgMTU), "up")
	return plane.Key(key.PublicKey().Bytes())
}

func (w *world) wireGuard(private *ecdh.PrivateKey, peer plane.Key) plane.WireGuard {
	return plane.WireGuard{
		Local: netip.AddrPortFrom(w.ours, wgPort), Remote: netip.AddrPortFrom(w.underlay.peer, wgPort),
		PrivateKey: plane.Key(private.Bytes()), PeerKey: peer, Initiator: true,
	}
}

func (w *world) wireGuardPinhole() classifier.Pinhole {
	return classifier.Pinhole{Addr: w.ours, Port: wgPort, VNI: classifier.AnyVNI}
}

func TestDebiansWireGuard(t *testing.T) {
	for _, u := range underlays {
		t.Run(u.name, func(t *testing.T) {
			w := newWorld(t, u)
			key := newKey(t)
			peer := w.startPeer(t, key.PublicKey())
			w.join(t, plane.IP, u.wgMTU, w.wireGuard(key, peer), w.wireGuardPinhole())
			w.requirePing(t, u.wgMTU)
			w.requireTCP(t)
		})
	}
}

func TestWireGuardWithAWrongKeyIsToldAndUndone(t *testing.T) {
	w := newWorld(t, underlays[0])
	key := newKey(t)
	w.startPeer(t, key.PublicKey())
	wrong := plane.Key(newKey(t).PublicKey().Bytes())
	require.NoError(t, w.classifier.Open(w.wireGuardPinhole()))

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := w.plane.Join(ctx, w.connection(t, plane.IP, w.wgMTU, w.wireGuard(key, wrong)))
	require.ErrorContains(t, err, "handshake")
	require.ErrorContains(t, err, "key")
	require.Empty(t, w.plane.Links())
	require.NotContains(t, w.run(t, w.pod, "ip", "link"), "nsm-1")
}
