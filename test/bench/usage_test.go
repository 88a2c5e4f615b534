// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"
)

func TestUsageOfThisProcess(t *testing.T) {
	before, err := processTimes([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		used, err := processTimes([]int{os.Getpid()})
		if err != nil {
			t.Fatal(err)
		}
		if used -= before; used >= 0.05 {
			if used > 10 {
				t.Errorf("%.2f s of CPU time in a moment", used)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%.2f s of CPU time in ten seconds of work", used)
		}
	}
	memory, err := resident(os.Getpid())
	if err != nil || memory < 1e6 || memory > 1e9 {
		t.Errorf("%.0f bytes are resident, %v", memory, err)
	}
	if _, err := processTime(1 << 30); err == nil {
		t.Error("a process that does not exist has used CPU time")
	}
}

func TestPidsOf(t *testing.T) {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pidsOf(string(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if pid == os.Getpid() {
			return
		}
	}
	t.Errorf("%v do not include this process, %d", pids, os.Getpid())
}
