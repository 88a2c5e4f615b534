// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

// The committed object files are those of the sources. Another compiler than
// the one that CI has makes others, so it has to be that one.
func TestObjectFilesAreThoseOfTheSources(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if _, err := os.Stat("/usr/include/bpf/bpf_helpers.h"); err != nil {
		t.Skip("libbpf-dev is not installed")
	}
	dir := t.TempDir()
	cmd := exec.Command("../../bpf/generate.sh", dir)
	cmd.Env = append(os.Environ(), "CLANG=clang-14", "LLVM_STRIP=llvm-strip-14")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range []string{"bpf_bpfel.o", "bpf_bpfel.go", "bpf_bpfeb.o", "bpf_bpfeb.go"} {
		want, err := os.ReadFile(name)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.True(t, string(want) == string(got), "%s is out of date: run go generate", name)
	}
}

func TestEveryCounterHasANameOfItsOwn(t *testing.T) {
	names := make(map[string]bool)
	for _, c := range reasons {
		require.Regexp(t, "^(redirect|pass)_[a-z_]+$", c.Name())
		require.NotEmpty(t, c.Help)
		require.False(t, names[c.Name()], "two counters are named %s", c.Name())
		names[c.Name()] = true
	}
	spec, err := loadSpec(true)
	require.NoError(t, err)
	require.EqualValues(t, len(reasons), spec.Maps[bpfMapCounters].MaxEntries)
	require.Len(t, spec.Maps, len(mapNames)+1, "all maps but the constants are pinned")
	for _, name := range mapNames {
		require.Contains(t, spec.Maps, name)
	}
}

// Kernels before 5.18 get a program without multi-buffer support. They are not
// at hand; that the program works without it is.
func TestProgramForKernelsWithoutMultiBuffer(t *testing.T) {
	requireRoot(t)
	spec, err := loadSpec(false)
	require.NoError(t, err)
	require.Zero(t, spec.Programs[bpfProgNsmClassifier].Flags)
	var objects bpfObjects
	require.NoError(t, spec.LoadAndAssign(&objects, nil))
	t.Cleanup(func() { require.NoError(t, objects.Close()) })
	h := &harness{Classifier: &Classifier{objects: objects}}
	h.addSocket(t)
	_, key, err := Pinhole{tunnel4, wholePort, AnyVNI}.normalize()
	require.NoError(t, err)
	require.NoError(t, objects.Pinholes.Put(key, bpfPinhole{Scope: bpfScopeSCOPE_PORT}))
	require.Equal(t, "redirect_pinhole", h.leaves(t, wholeDatagram4(tunnel4, wholePort)))
	require.Equal(t, "pass_no_pinhole", h.leaves(t, wholeDatagram4(tunnel4, closedPort)))
	require.Equal(t, "pass_truncated", h.leaves(t, wholeDatagram4(tunnel4, wholePort)[:60]))
	_, err = objects.NsmClassifier.Run(&ebpf.RunOptions{Data: wholeDatagram4(tunnel4, wholePort)[:13]})
	require.Error(t, err, "less than an Ethernet header is no frame")
}

// BenchmarkProgram reports the kernel's own measure of one run of the program,
// without driver and redirection.
func BenchmarkProgram(b *testing.B) {
	h := newHarness(b)
	inner := octets(1400)
	for _, bm := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"pass TCP", build(ethernet{typeIPv4}, ipv4{proto: protoTCP}, inner), "pass_not_udp"},
		{"pass ARP", build(ethernet{typeARP}, octets(46)), "pass_not_ip"},
		{"pass UDP", build(ethernet{typeIPv4}, ipv4{}, udp{dst: closedPort}, inner), "pass_no_pinhole"},
		{"redirect port", build(ethernet{typeIPv4}, ipv4{}, udp{dst: wholePort}, inner), "redirect_pinhole"},
		{"redirect port IPv6", build(ethernet{typeIPv6}, ipv6{next: protoUDP}, udp{dst: wholePort}, inner), "redirect_pinhole"},
		{"redirect VNI", build(ethernet{typeIPv4}, ipv4{}, udp{dst: vxlanPort}, vxlan{vni: openVNI}, inner), "redirect_vni"},
		{"redirect VNI behind two tags", build(ethernet{typeService}, tag{7, typeVLAN}, tag{8, typeIPv4}, ipv4{},
			udp{dst: vxlanPort}, vxlan{vni: openVNI}, inner), "redirect_vni"},
		{"redirect VLAN", build(ethernet{typeVLAN}, tag{heldVLAN, typeIPv4}, inner), "redirect_vlan"},
		{"redirect first fragment", first4(1, wholePort), "redirect_pinhole"},
		{"redirect later fragment", later4(1), "redirect_fragment"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			h.run(b, first4(1, wholePort))
			require.Equal(b, bm.want, h.leaves(b, bm.frame))
			const repeat = 1000
			b.ResetTimer()
			for range b.N {
				_, err := h.objects.NsmClassifier.Run(&ebpf.RunOptions{Data: bm.frame, Repeat: repeat})
				require.NoError(b, err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/repeat, "ns/frame")
		})
	}
}
