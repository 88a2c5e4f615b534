// SPDX-License-Identifier: Apache-2.0

// Package vm runs programs on Debian's kernel, in a virtual machine that sees
// the host's files and cannot change them: what a guest writes stays in its
// memory and ends with it. A guest has no network device. Its kernel has what
// the kernel of a machine that tests run on may lack (VLAN and WireGuard
// devices), and is the one that many clusters run.
//
// make deps installs QEMU and unpacks the kernel (fetch-kernel.sh). A command of
// one's own runs by
//
//	go run ./test/vm/run -- ip -d link
package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/nsm-afxdp/forwarder/test/vm/wire"
)

// Machine is a virtual machine. It is booted, runs its programs, and is gone.
type Machine struct {
	Kernel *Kernel
	// Init is the path of the guest's first program, test/vm/guest, linked
	// statically.
	Init     string
	Memory   int // MiB
	CPUs     int // one, where the guest's code is translated
	Programs []wire.Program
	// Output gets what programs print, in whole lines. The last may lack its
	// end.
	Output func(program int, line []byte)
}

// What a machine has if nothing else is said.
const (
	DefaultMemory = 2048 // MiB
	DefaultCPUs   = 2
)

// errNoEnd says that the guest ended before it was through with its programs.
var errNoEnd = errors.New("the virtual machine ended before its programs did")

// Run boots the machine and returns how each program ended. When ctx ends, the
// machine is killed, and the programs that ended until then are returned with
// the error.
func (m *Machine) Run(ctx context.Context) ([]wire.Exit, error) {
	dir, err := os.MkdirTemp("", "nsm-vm-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	initrd, console := filepath.Join(dir, "initrd"), filepath.Join(dir, "console")
	if err := m.writeInitrd(initrd); err != nil {
		return nil, err
	}

	cmd := exec.CommandContext(ctx, emulator, m.arguments(initrd, console)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// The port counts as closed, and the guest waits, when QEMU's standard input
	// is at its end.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// A machine must not outlive a test that is killed. What the kernel watches
	// is the thread that made the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", emulator, err)
	}
	exits, err := m.follow(events)
	ended := cmd.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && ended != nil {
		err = ended
	}
	if err != nil {
		log, _ := os.ReadFile(console)
		err = fmt.Errorf("%s: %w\n%s%s", emulator, err, complaints.String(), tail(log, 4096))
	}
	return exits, err
}

// follow reads events until the guest ends.
func (m *Machine) follow(events io.Reader) ([]wire.Exit, error) {
	exits, lines := []wire.Exit{}, lineSplitter{}
	for decoder := json.NewDecoder(events); ; {
		var e wire.Event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF) && len(exits) == len(m.Programs):
			return exits, nil
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed):
			return exits, errNoEnd
		case err != nil:
			return exits, fmt.Errorf("read the guest's events: %w", err)
		case e.Fault != "":
			return exits, errors.New(e.Fault)
		case e.Exit != nil:
			lines.flush(func(line []byte) { m.Output(e.Program, line) })
			exits = append(exits, *e.Exit)
		default:
			lines.write(e.Output, func(line []byte) { m.Output(e.Program, line) })
		}
	}
}

// BuildInit compiles what Machine.Init names into a folder.
func BuildInit(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "init")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/nsm-afxdp/forwarder/test/vm/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the guest's init: %w\n%s", err, out)
	}
	return path, nil
}

// Environment is what a program in a machine should know of the host's
// environment.
func Environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name == "PATH" || name == "HOME" || strings.HasPrefix(name, "NSM_") {
			env = append(env, e)
		}
	}
	return env
}

func (m *Machine) writeInitrd(path string) error {
	var names []string
	for _, module := range m.Kernel.Early {
		names = append(names, filepath.Base(module))
	}
	orders, err := json.Marshal(wire.Orders{Early: names, Late: m.Kernel.Late, Programs: m.Programs})
	if err != nil {
		return err
	}
	program, err := os.ReadFile(m.Init)
	if err != nil {
		return err
	}
	files, err := read(wire.ModulesDir, m.Kernel.Early)
	if err != nil {
		return err
	}
	files = append(files, file{"init", executable, program}, file{wire.OrdersFile, plain, orders})
	var archive bytes.Buffer
	if err := writeInitramfs(&archive, files); err != nil {
		return err
	}
	return os.WriteFile(path, archive.Bytes(), 0o600)
}

func (m *Machine) arguments(initrd, console string) []string {
	accelerator := []string{"-accel", "kvm", "-cpu", "host", "-smp", strconv.Itoa(m.CPUs)}
	if !Hardware() {
		// An instruction takes a nanosecond of the guest's time, however long the
		// host takes: nothing in the guest is late because the host is busy. That
		// is for one processor only. Newer instructions make it slower.
		accelerator = []string{"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on",
			"-cpu", "Westmere,+rdrand", "-smp", "1"}
	}
	return append(accelerator,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,elevateprivileges=deny,spawn=deny",
		"-machine", "q35", "-m", strconv.Itoa(m.Memory),
		"-kernel", m.Kernel.Image, "-initrd", initrd,
		"-append", "console=ttyS0 loglevel=5 panic=-1 mitigations=off tsc=reliable",
		"-serial", "file:"+console,
		"-device", "virtio-serial-pci", "-chardev", "stdio,id=events,signal=off",
		"-device", "virtserialport,chardev=events,name=events",
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=root,mount_tag="+wire.RootTag,
	)
}

// lineSplitter gathers bytes to lines.
type lineSplitter struct{ rest []byte }

func (s *lineSplitter) write(b []byte, line func([]byte)) {
	s.rest = append(s.rest, b...)
	for {
		end := bytes.IndexByte(s.rest, '\n')
		if end < 0 {
			return
		}
		line(s.rest[:end+1])
		s.rest = s.rest[end+1:]
	}
}

func (s *lineSplitter) flush(line func([]byte)) {
	if len(s.rest) > 0 {
		line(s.rest)
	}
	s.rest = nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
