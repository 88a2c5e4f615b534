// SPDX-License-Identifier: Apache-2.0

// Package wire is what the host and the init process of a virtual machine
// (test/vm) say to each other: Orders go in as a JSON file of the initramfs,
// Events come back as JSON, one after the other, through a virtio port.
package wire

import "time"

// Where the host puts things into the initramfs.
const (
	OrdersFile = "orders.json"
	ModulesDir = "modules" // the modules of Orders.Early
)

// RootTag is the 9p tag of the host's root folder.
const RootTag = "root"

// Orders say what a virtual machine is to do before it powers off.
type Orders struct {
	// Early are files in ModulesDir: what the guest needs to see the host's
	// root folder. Late are paths on the host. Both are in the order of their
	// dependencies.
	Early, Late []string
	// Programs run one after the other, whatever their exit codes.
	Programs []Program
}

// Program is a command that runs as root in the virtual machine, in which
// paths are the host's.
type Program struct {
	Args []string // the first is a path, or a name in Debian's usual PATH
	Env  []string
	Dir  string
	// Timeout ends the program when it has run for longer; zero is none.
	Timeout time.Duration
}

// Event is one thing that happened in the guest.
type Event struct {
	Program int    // index in Orders.Programs
	Output  []byte `json:",omitempty"` // of stdout and stderr
	Exit    *Exit  `json:",omitempty"` // the program has ended
	Fault   string `json:",omitempty"` // the virtual machine is of no use, and why
}

// Exit is how a program ended.
type Exit struct {
	Code    int    // -1 if it ended by a signal or never ran
	Text    string // as os.ProcessState tells it, or why it did not run
	Elapsed time.Duration
}
