// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"iter"
	"os"
	"strconv"
)

// Processes are the numbers of the processes, as /proc shows them, whose main
// thread is in the namespace that Identity describes by dev and ino. There are
// none if /proc cannot be read.
func Processes(dev, ino uint64) iter.Seq[int] {
	return func(yield func(int) bool) {
		proc, err := os.Open("/proc")
		if err != nil {
			return
		}
		names, err := proc.Readdirnames(-1)
		_ = proc.Close()
		if err != nil {
			return
		}
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil || !Holds(pid, dev, ino) {
				continue
			}
			if !yield(pid) {
				return
			}
		}
	}
}

// Holds tells whether a process is in the namespace.
func Holds(pid int, dev, ino uint64) bool {
	d, i, err := Identity(Of(pid))
	return err == nil && d == dev && i == ino
}

// Of is the path to the namespace of a process.
func Of(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }
