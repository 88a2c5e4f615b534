// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc, USER_HZ.
const tick = 10 * time.Millisecond

// processTimes is the user and system time of some processes, in seconds. It
// includes softirqs that were handled in their context.
func processTimes(pids []int) (sum float64, err error) {
	for _, pid := range pids {
		used, err := processTime(pid)
		if err != nil {
			return 0, err
		}
		sum += used.Seconds()
	}
	return sum, nil
}

func processTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything.
	var user, system time.Duration
	rest := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const utime, stime = 11, 12
	if len(rest) > stime {
		_, err = fmt.Sscan(rest[utime]+" "+rest[stime], (*int64)(&user), (*int64)(&system))
	}
	if err != nil || len(rest) <= stime {
		return 0, fmt.Errorf("read /proc/%d/stat: %q", pid, text)
	}
	return (user + system) * tick, nil
}

// pidsOf finds processes by the beginning of their name.
func pidsOf(prefix string) (pids []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		name, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(name), prefix) {
			continue // it may have ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// resident is the memory of a process that is in RAM, in bytes.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib * 1024, nil
		}
	}
	return 0, errors.New("no VmRSS in /proc/<pid>/status")
}

// loadAverage of the last minute.
func loadAverage() float64 {
	var one float64
	text, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		_, _ = fmt.Sscan(string(text), &one)
	}
	return one
}
