// SPDX-License-Identifier: Apache-2.0

package nsc_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

func TestAClientConnectsAndClosesOnSIGTERM(t *testing.T) {
	t.Parallel()
	m := newMesh(t, time.Hour)
	nse := m.endpoint("nse")
	nsc := m.client()
	nsc.await("all connections are up")
	require.Contains(t, nsc.output(), "interface nsm-1, addresses [172.16.1.1/32], endpoint nse")
	seen := m.watch()
	nsc.eventually("is seen", func() bool { return len(seen.up()) == 1 })

	require.Equal(t, service.ExitOK, nsc.terminate())
	require.Contains(t, nsc.output(), "closed connection nsc-0")
	nsc.eventually("is gone", func() bool { return len(seen.up()) == 0 && len(seen.deleted()) == 1 })
	require.Equal(t, service.ExitOK, nse.terminate())
}

func TestSIGTERMEndsAClientThatIsStillTrying(t *testing.T) {
	t.Parallel()
	m := newMesh(t, time.Hour)
	nsc := m.client("NSM_REQUEST_TIMEOUT=60s")
	nsc.await("SVID")
	started := time.Now()
	require.Equal(t, service.ExitOK, nsc.terminate())
	require.Less(t, time.Since(started), 3*time.Second)
	require.NotContains(t, nsc.output(), "connected to")
}

func TestAKilledClientTakesItsConnectionOver(t *testing.T) {
	t.Parallel()
	m := newMesh(t, time.Hour)
	m.endpoint("nse")
	nsc := m.client()
	nsc.await("all connections are up")
	seen := m.watch()
	nsc.eventually("is seen", func() bool { return len(seen.up()) == 1 })
	before := seen.up()[0]

	nsc.kill()
	nsc.restart()
	nsc.await("going on with 1 existing connections")
	nsc.await("all connections are up")
	require.Contains(t, nsc.output(), "interface nsm-1, addresses [172.16.1.1/32], endpoint nse")
	require.Len(t, seen.up(), 1)
	require.Equal(t, before.GetId(), seen.up()[0].GetId(), "another connection was made")
	require.Empty(t, seen.deleted())

	require.Equal(t, service.ExitOK, nsc.terminate())
	nsc.eventually("is gone", func() bool { return len(seen.up()) == 0 })
}

func TestAConnectionThatCannotBeTakenOverIsMadeAnew(t *testing.T) {
	t.Parallel()
	m := newMesh(t, time.Hour)
	first := m.endpoint("first", "NSM_UNREGISTER_ITSELF=true")
	nsc := m.client("NSM_REQUEST_TIMEOUT=2s")
	nsc.await("all connections are up")
	nsc.kill()
	require.Equal(t, service.ExitOK, first.terminate())
	m.endpoint("second")
	nsc.restart()
	nsc.await("endpoint second")
	nsc.await("all connections are up")
}

func TestWhenTheEndpointDiesAnotherOneIsFound(t *testing.T) {
	t.Parallel()
	m := newMesh(t, time.Hour)
	first := m.endpoint("first")
	nsc := m.client()
	nsc.await("endpoint first")
	m.endpoint("second")
	seen := m.watch()
	first.kill()
	nsc.eventually("is connected to the other endpoint", func() bool {
		for _, conn := range seen.up() {
			if conn.GetNetworkServiceEndpointName() == "second" {
				return true
			}
		}
		return false
	})
	require.Equal(t, service.ExitOK, nsc.terminate())
}

func TestTheConnectionComesBackWithTheNsmgr(t *testing.T) {
	t.Parallel()
	m := newMesh(t, time.Hour)
	m.endpoint("nse")
	nsc := m.client()
	nsc.await("all connections are up")
	m.nsmgr.kill()
	m.nsmgr.restart()
	m.nsmgr.await("startup completed")
	seen := m.watch()
	nsc.eventually("is connected again", func() bool { return len(seen.up()) == 1 })
	require.Equal(t, service.ExitOK, nsc.terminate())
}

func TestAConnectionOutlivesItsSVIDsAndTokens(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to ping")
	}
	const ttl = 5 * time.Second
	m := newMesh(t, ttl, "NSM_MAX_TOKEN_LIFETIME=4s", "NSM_REQUEST_TIMEOUT=1s")
	// Addresses of the loopback: the other end always answers.
	m.endpoint("nse", "NSM_CIDR_PREFIX=127.77.0.0/16")
	nsc := m.client("NSM_LIVENESS_CHECK_ENABLED=true")
	nsc.await("all connections are up")
	seen := m.watch()
	nsc.eventually("is seen", func() bool { return len(seen.up()) == 1 })
	before := seen.up()[0]
	// What was issued at the beginning has expired, and so has what came after.
	time.Sleep(2 * ttl)
	require.Empty(t, seen.deleted(), "the connection was closed")
	require.Len(t, seen.up(), 1)
	after := seen.up()[0]
	require.Equal(t, before.GetId(), after.GetId())
	for i, segment := range after.GetPath().GetPathSegments() {
		require.True(t, segment.GetExpires().AsTime().After(time.Now().Add(-time.Second)), "token %d has expired: %v", i, segment)
	}
	require.Equal(t, service.ExitOK, nsc.terminate())
}

// privateResolvConf runs a process with a resolv.conf of its own.
const privateResolvConf = `mount --make-rprivate / && mount --bind "$RESOLV_CONF" /etc/resolv.conf && exec "$0"`

func TestResolvConfComesBackWhateverEndsTheClient(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root for a mount namespace")
	}
	m := newMesh(t, time.Hour)
	m.endpoint("nse", `NSM_DNS_CONFIGS=[{"dns_server_ips":["172.16.1.0"],"search_domains":["my.service"]}]`)
	const original = "search cluster.local\nnameserver 192.0.2.53\noptions ndots:5\n"
	resolvConf := filepath.Join(m.dir, "resolv.conf")
	require.NoError(t, os.WriteFile(resolvConf, []byte(original), 0o644))
	content := func() string {
		text, err := os.ReadFile(resolvConf)
		require.NoError(t, err)
		return string(text)
	}
	nsc := m.prepare("nsc", "nsc", append(m.clientEnv(), "RESOLV_CONF="+resolvConf, "NSM_LOCAL_DNS_SERVER_ADDRESS=127.0.0.153:53")...)
	nsc.shell = privateResolvConf
	nsc.restart()
	nsc.await("all connections are up")
	require.Contains(t, content(), "\nnameserver 127.0.0.153\n")
	require.Contains(t, content(), "\nsearch my.service cluster.local\n")
	require.NotContains(t, content(), "\nnameserver 192.0.2.53\n")

	nsc.kill()
	require.Contains(t, content(), "\nnameserver 127.0.0.153\n", "there is nothing to put back")
	nsc.restart()
	nsc.await("which an earlier run had left changed")
	nsc.await("all connections are up")
	require.Contains(t, content(), "\nnameserver 127.0.0.153\n")

	require.Equal(t, service.ExitOK, nsc.terminate())
	require.Equal(t, original, content())

	machine, err := os.ReadFile("/etc/resolv.conf")
	require.NoError(t, err)
	require.False(t, strings.Contains(string(machine), "127.0.0.153"), "the machine's own resolv.conf was changed")
}

func TestAnIdleEndpointEndsItself(t *testing.T) {
	t.Parallel()
	m := newMesh(t, time.Hour)
	nse := m.endpoint("nse", "NSM_IDLE_TIMEOUT=300ms", "NSM_UNREGISTER_ITSELF=true")
	require.Equal(t, service.ExitOK, nse.exitCode())
	require.Contains(t, nse.output(), "nobody has been connected")
}
