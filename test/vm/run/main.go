// SPDX-License-Identifier: Apache-2.0

// Command run runs one program in a virtual machine with Debian's kernel and
// exits with its code. The program sees the machine's files, and what it writes
// is lost. It starts in the same folder, with PATH, HOME, and the
// variables that begin with NSM_.
//
//	go run ./test/vm/run [-m MiB] [-smp N] [-timeout 5m] [--] program [arguments]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nsm-afxdp/forwarder/test/vm"
	"github.com/nsm-afxdp/forwarder/test/vm/wire"
)

func main() {
	memory := flag.Int("m", vm.DefaultMemory, "memory in MiB")
	cpus := flag.Int("smp", vm.DefaultCPUs, "processors, with KVM")
	timeout := flag.Duration("timeout", 5*time.Minute, "limit for boot and program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	code, err := run(ctx, &vm.Machine{Memory: *memory, CPUs: *cpus}, flag.Args())
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		code = 125
	}
	os.Exit(code)
}

func run(ctx context.Context, m *vm.Machine, args []string) (int, error) {
	if len(args) == 0 {
		return 0, errors.New("no program given")
	}
	dir, err := os.MkdirTemp("", "nsm-vm-init-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if m.Kernel, err = vm.FindKernel(); err != nil {
		return 0, err
	}
	if m.Init, err = vm.BuildInit(ctx, dir); err != nil {
		return 0, err
	}
	p := wire.Program{Args: args}
	if p.Dir, err = os.Getwd(); err != nil {
		return 0, err
	}
	p.Env = vm.Environment()
	m.Programs = []wire.Program{p}
	m.Output = func(_ int, line []byte) { _, _ = os.Stdout.Write(line) }
	exits, err := m.Run(ctx)
	if err != nil {
		return 0, err
	}
	if exits[0].Code < 0 {
		return 0, fmt.Errorf("%s: %s", args[0], exits[0].Text)
	}
	return exits[0].Code, nil
}
