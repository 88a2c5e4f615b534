// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// host is a namespace with a link whose settings can be changed.
func host(t *testing.T) (ns, state string) {
	t.Helper()
	ns = node(t)
	sh(t, ns, "ip link add eth0 numrxqueues 4 numtxqueues 4 type veth peer name p0 numrxqueues 4 numtxqueues 4; ip link set eth0 up; ip link set p0 up")
	return ns, filepath.Join(t.TempDir(), "settings.json")
}

func settings(t *testing.T, ns, state string) *Settings {
	t.Helper()
	s, err := OpenSettings(SettingsConfig{Path: state, NetNS: ns, Log: t.Logf})
	require.NoError(t, err)
	return s
}

// facts is how the link of host is set.
func facts(t *testing.T, ns string) string {
	t.Helper()
	return sh(t, ns, `ip -d -o link show eth0 | grep -o 'mtu [0-9]*\|promiscuity [0-9]*'
ethtool -l eth0 | sed -n '/Current/,$p'; ethtool -k eth0 | grep -E '^(rx-vlan-offload|tx-checksumming|generic-receive-offload)'`)
}

func changeAll(t *testing.T, s *Settings) {
	t.Helper()
	require.NoError(t, s.SetMTU("eth0", 1400))
	require.NoError(t, s.SetMTU("eth0", 1300))
	require.NoError(t, s.SetPromiscuous("eth0", true))
	require.NoError(t, s.SetChannels("eth0", 2, 2, 0))
	require.NoError(t, s.SetFeature("eth0", "rx-vlan-hw-parse", false))
}

func TestSettingsAreChangedAndPutBack(t *testing.T) {
	ns, state := host(t)
	before := facts(t, ns)
	s := settings(t, ns, state)
	require.NoError(t, s.SetMTU("eth0", 1500), "as it is: nothing to record")
	require.NoFileExists(t, state)
	changeAll(t, s)
	require.Equal(t, []string{"mtu of eth0 1500 1300", "promiscuous of eth0 off on", "channels of eth0 rx 4 tx 4 combined 0 rx 2 tx 2 combined 0",
		"feature rx-vlan-hw-parse of eth0 on off"}, texts(s.Changes()))
	after := facts(t, ns)
	for _, want := range []string{"mtu 1300", "promiscuity 1", "2", "rx-vlan-offload: off"} {
		require.Contains(t, after, want)
	}
	require.NoError(t, s.Restore())
	require.Equal(t, before, facts(t, ns))
	require.Empty(t, s.Changes())
	require.NoFileExists(t, state)
	require.NoError(t, s.Restore(), "a second time there is nothing to do")
}

func texts(changes []Change) (out []string) {
	for _, c := range changes {
		out = append(out, c.String()+" "+c.Was+" "+c.Now)
	}
	return out
}

const crashEnv = "UPLINK_TEST_CRASH"

// TestCrashingProcess is the process that TestSettingsOutliveAKill starts.
func TestCrashingProcess(t *testing.T) {
	args := strings.Split(os.Getenv(crashEnv), ",")
	if len(args) != 3 {
		t.Skip("is run by TestSettingsOutliveAKill")
	}
	s := settings(t, args[1], args[2])
	die := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }
	if args[0] == "recorded" {
		knobs["feature"].write = func(Change, string) error { die(); return nil }
	}
	changeAll(t, s)
	die()
}

func TestSettingsOutliveAKill(t *testing.T) {
	for name, stage := range map[string]string{
		"after the changes":                             "changed",
		"between the record and the change it is about": "recorded",
	} {
		t.Run(name, func(t *testing.T) {
			ns, state := host(t)
			before := facts(t, ns)
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrashingProcess$")
			cmd.Env = append(os.Environ(), crashEnv+"="+strings.Join([]string{stage, ns, state}, ","))
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "%s", out)
			require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "%s", out)
			require.Contains(t, facts(t, ns), "mtu 1300")

			s := settings(t, ns, state)
			require.Len(t, s.Changes(), 4)
			require.NoError(t, s.SetMTU("eth0", 1200), "the successor changes it again")
			require.NoError(t, s.Restore())
			require.Equal(t, before, facts(t, ns))
			require.NoFileExists(t, state)
		})
	}
}

func TestWhatOthersChangedStays(t *testing.T) {
	ns, state := host(t)
	s := settings(t, ns, state)
	require.NoError(t, s.SetMTU("eth0", 1400))
	sh(t, ns, "ip link set eth0 mtu 1350")
	require.NoError(t, s.Restore())
	require.Contains(t, facts(t, ns), "mtu 1350")

	require.NoError(t, s.SetMTU("eth0", 1400))
	sh(t, ns, "ip link del eth0; ip link add eth0 mtu 1400 type veth peer name p0")
	require.NoError(t, s.Restore())
	require.Contains(t, facts(t, ns), "mtu 1400", "another link of the same name")
	require.NoError(t, s.SetMTU("eth0", 1300))
	sh(t, ns, "ip link del eth0")
	require.NoError(t, s.Restore(), "a link that is gone")
	require.NoFileExists(t, state)
}

func TestSettingThatCannotBeChanged(t *testing.T) {
	ns, state := host(t)
	s := settings(t, ns, state)
	require.ErrorContains(t, s.SetMTU("eth0", 70000), "change mtu of eth0 from \"1500\" to \"70000\"")
	require.ErrorContains(t, s.SetChannels("eth0", 9, 9, 0), "channels of eth0")
	require.ErrorContains(t, s.SetFeature("eth0", "no-such-thing", true), "no feature \"no-such-thing\"")
	require.ErrorContains(t, s.SetMTU("eth1", 1400), "no link eth1")
	require.Empty(t, s.Changes())
	require.NoFileExists(t, state)

	s.config.Path = filepath.Join(t.TempDir(), "none", "settings.json")
	before := facts(t, ns)
	require.ErrorContains(t, s.SetMTU("eth0", 1400), "record changed host settings")
	require.Equal(t, before, facts(t, ns), "what cannot be recorded is not changed")

	// A change that cannot be put back stays recorded.
	s.config.Path = state
	require.NoError(t, s.SetMTU("eth0", 1400))
	write := knobs["mtu"].write
	t.Cleanup(func() { knobs["mtu"].write = write })
	knobs["mtu"].write = func(Change, string) error { return errors.New("no") }
	require.ErrorContains(t, s.Restore(), "restore mtu of eth0 to \"1500\": no")
	knobs["mtu"].write = write
	require.NoError(t, settings(t, ns, state).Restore())
	require.Equal(t, before, facts(t, ns))
}

func TestStateFileOfAnotherBootOrBroken(t *testing.T) {
	ns, state := host(t)
	require.NoError(t, settings(t, ns, state).SetMTU("eth0", 1400))
	b, err := os.ReadFile(state)
	require.NoError(t, err)
	boot, err := bootID()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(state, []byte(strings.Replace(string(b), boot, "another", 1)), 0o600))
	require.Empty(t, settings(t, ns, state).Changes())
	require.NoError(t, os.WriteFile(state, []byte("{"), 0o600))
	_, err = OpenSettings(SettingsConfig{Path: state})
	require.ErrorContains(t, err, "remove the file")
}

func TestBPFFileSystemIsMountedAndTakenAway(t *testing.T) {
	_, state := host(t)
	s := settings(t, "", state)
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := s.MountBPF(dir); errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EPERM) {
		t.Skipf("no BPF file system can be mounted here: %v", err)
	} else {
		require.NoError(t, err)
	}
	isBPF := func() bool {
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(dir, &st))
		return st.Type == unix.BPF_FS_MAGIC
	}
	require.True(t, isBPF())
	require.NoError(t, s.MountBPF(filepath.Join(dir, "forwarder")), "below it there is nothing to mount")
	require.Len(t, s.Changes(), 1)

	require.NoError(t, s.Restore())
	require.True(t, isBPF(), "it stays while there is something in it")
	require.Len(t, settings(t, "", state).Changes(), 1)
	require.NoError(t, os.Remove(filepath.Join(dir, "forwarder")))
	require.NoError(t, s.Restore())
	require.False(t, isBPF())
	require.NoFileExists(t, state)
}
