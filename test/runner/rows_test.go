// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableOfUseCases(t *testing.T) {
	s := newSummary(io.Discard, false)
	for _, e := range []event{
		{Action: "pass", Test: "TestRows/embedded_to_embedded/Kernel2IP2Kernel"},
		{Action: "pass", Test: "TestRows/embedded_to_embedded/Kernel2Ethernet2Kernel"},
		{Action: "pass", Test: "TestRows/embedded_to_embedded"},
		{Action: "fail", Test: "TestRows/kernel_to_kernel/Kernel2IP2Kernel"},
		{Action: "output", Test: "TestRows/kernel_to_kernel/Memif2Memif", Output: "    rows_test.go:1: no memif\n"},
		{Action: "skip", Test: "TestRows/kernel_to_kernel/Memif2Memif"},
		{Action: "pass", Test: "TestRows"},
		{Action: "pass", Test: "TestOther/a/b"},
	} {
		s.add(&e)
	}
	var out strings.Builder
	s.rows.print(&out, false)
	require.Equal(t, `
use case                1   2
Kernel2Ethernet2Kernel  ok  -
Kernel2IP2Kernel        ok  FAIL
Memif2Memif             -   skip a

1. embedded to embedded
2. kernel to kernel

- skip a: no memif
`, out.String())
	out.Reset()
	s.rows.print(&out, true)
	require.Contains(t, out.String(), "| use case | 1 | 2 |\n|---|---|---|\n| Kernel2Ethernet2Kernel | ok | - |\n")
}

func TestRowsInAVirtualMachine(t *testing.T) {
	s := newSummary(io.Discard, false)
	for _, e := range []event{
		{Action: "pass", Test: "TestUseCases/TestRows/VLAN/Kernel2RVlan"},
		{Action: "fail", Test: "TestUseCases/TestRows/VLAN/Memif2RVlan"},
		{Action: "pass", Test: "TestUseCases/TestRows/kernel_to_kernel/Kernel2IP2Kernel"},
		{Action: "skip", Test: "TestUseCases/TestRows/kernel_to_kernel/Memif2Memif"},
		{Action: "pass", Test: "TestRows/kernel_to_kernel/Kernel2IP2Kernel"},
		{Action: "skip", Test: "TestRows/kernel_to_kernel/Memif2Memif"},
		{Action: "output", Test: "TestRows/VLAN/Kernel2RVlan", Output: "    rows_test.go:1: no VLAN\n"},
		{Action: "skip", Test: "TestRows/VLAN/Kernel2RVlan"},
		{Action: "skip", Test: "TestRows/VLAN/Memif2RVlan"},
		{Action: "fail", Test: "TestUseCases/TestRows/kernel_to_kernel/Kernel2Kernel"},
		{Action: "pass", Test: "TestRows/kernel_to_kernel/Kernel2Kernel"},
	} {
		s.add(&e)
	}
	var out strings.Builder
	s.rows.print(&out, false)
	require.Equal(t, `
use case          1       2
Kernel2IP2Kernel  ok      -
Kernel2RVlan      -       ok v
Memif2RVlan       -       FAIL v
Kernel2Kernel     FAIL v  -
Memif2Memif       skip a  -

1. kernel to kernel
2. VLAN

- skip a: no reason given
- v: in a virtual machine with Debian's kernel (test/vm)
`, out.String())
}
