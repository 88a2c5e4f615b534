// SPDX-License-Identifier: Apache-2.0

// Package debug runs the program under the Delve debugger on demand.
package debug

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
)

// Names that the environment variable and the arguments are made of.
const (
	Dlv    = "dlv"
	Listen = "listen"
)

// Self replaces the process by dlv, running the same program with the same
// arguments and listening for debuggers, if the environment variable
// DLV_LISTEN_<parts> is set to the address to listen at. The parts are those
// given, or else the name of the program. It returns only if there is nothing
// to do, or with an error that says why: for programs to log at level info.
func Self(envVariableParts ...string) error {
	if len(envVariableParts) == 0 {
		envVariableParts = []string{path.Base(os.Args[0])}
	}
	name := variable(append([]string{Dlv, Listen}, envVariableParts...)...)
	address, ok := os.LookupEnv(name)
	if !ok {
		return fmt.Errorf("debug: %s is not set, so not running under %s; set it to host:port for that", name, Dlv)
	}
	debugger, err := exec.LookPath(Dlv)
	if err != nil {
		return fmt.Errorf("debug: %s is set: %w", name, err)
	}
	if parentIsDebugger() {
		return fmt.Errorf("debug: already running under %s", Dlv)
	}
	if strings.HasPrefix(address, ":") {
		address = "localhost" + address
	}
	args := append([]string{debugger, "--listen=" + address, "--headless=true", "--api-version=2", "exec", os.Args[0], "--"}, os.Args[1:]...)
	//nolint:gosec // replacing ourselves by what the user asked for is the purpose
	if err := syscall.Exec(debugger, args, os.Environ()); err != nil {
		return fmt.Errorf("debug: run %s: %w", debugger, err)
	}
	return nil
}

func variable(parts ...string) string {
	name := strings.ToUpper(strings.Join(parts, "_"))
	return strings.Map(func(r rune) rune {
		if (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') || r == '_' {
			return r
		}
		return '_'
	}, name)
}

func parentIsDebugger() bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid()))
	return err == nil && path.Base(target) == Dlv
}
