// SPDX-License-Identifier: Apache-2.0

package nanoid_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/nanoid"
)

func TestInterfaceNames(t *testing.T) {
	for ns, prefix := range map[string]string{
		"ns":                     "ns-",
		"exactly-10":             "exactly-10-",
		"kernel2ethernet2kernel": "kernel2eth-",
	} {
		seen := make(map[string]struct{})
		for range 50 {
			name, err := nanoid.GenerateLinuxInterfaceName(ns)
			require.NoError(t, err)
			require.Len(t, name, 15)
			suffix, ok := strings.CutPrefix(name, prefix)
			require.True(t, ok, name)
			require.Empty(t, strings.Trim(suffix, nanoid.DefaultAlphabet))
			seen[name] = struct{}{}
		}
		require.Greater(t, len(seen), 45)
	}
	_, err := nanoid.GenerateLinuxInterfaceName("")
	require.Error(t, err)
}

func TestLettersAreDrawnFromTheGivenSources(t *testing.T) {
	// Of three letters two bits are used, and 3 is drawn again.
	name, err := nanoid.GenerateString(4, nanoid.WithAlphabet("abc"),
		nanoid.WithRandomByteGenerator(bytes.NewReader([]byte{0, 3, 1, 2, 255, 4})))
	require.NoError(t, err)
	require.Equal(t, "abca", name)

	require.Equal(t, "xxx", nanoid.MustGenerateString(3, nanoid.WithAlphabet("x")))
	require.Empty(t, nanoid.MustGenerateString(0))
	for _, alphabet := range []string{"", strings.Repeat("x", 257)} {
		_, err = nanoid.GenerateString(1, nanoid.WithAlphabet(alphabet))
		require.Error(t, err)
	}
	_, err = nanoid.GenerateString(-1)
	require.Error(t, err)
	_, err = nanoid.GenerateString(1, nanoid.WithRandomByteGenerator(bytes.NewReader(nil)))
	require.Error(t, err)
	require.Panics(t, func() { nanoid.MustGenerateString(-1) })
}
