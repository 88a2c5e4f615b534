// SPDX-License-Identifier: Apache-2.0

// Command guest is the init process of the virtual machines of test/vm. In this
// order: it loads the modules that the host's root folder comes through, makes
// that folder the root (what is written to it stays in memory), mounts what a
// Debian has mounted, loads the other modules, runs the programs it is ordered
// to, and powers off.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/test/vm/wire"
)

func main() {
	if len(os.Args) > 1 {
		runPrograms() // the child of init
		return
	}
	if err := boot(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("power off:", err)
	}
}

// boot is what process 1 does. Programs are started by a child of it, so that
// it may wait for whichever process has lost its parent.
func boot() error {
	text, err := os.ReadFile("/" + wire.OrdersFile)
	if err != nil {
		return err
	}
	var orders wire.Orders
	if err := json.Unmarshal(text, &orders); err != nil {
		return fmt.Errorf("read the orders: %w", err)
	}
	for i, name := range orders.Early {
		orders.Early[i] = filepath.Join("/", wire.ModulesDir, name)
	}
	self, err := os.Open("/init")
	if err != nil {
		return err
	}
	if err := loadModules(orders.Early); err != nil {
		return err
	}
	if err := mountRoot(); err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	if err := loadModules(orders.Late); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("vm")); err != nil {
		return err
	}
	if err := exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
		return fmt.Errorf("ip link set lo up: %w", err)
	}
	if err := os.WriteFile(ordersPath, text, 0o600); err != nil {
		return err
	}
	child := exec.Command(fmt.Sprintf("/proc/self/fd/%d", self.Fd()), "programs")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait: %w", err)
		}
		if pid == child.Process.Pid {
			return nil
		}
	}
}

// In /run, which is the guest's alone.
const (
	ordersPath = "/run/nsm-vm-" + wire.OrdersFile
	temporary  = "/run/tmp" // what runs on the host at the same time is in its /tmp
)

// runPrograms tells the host what happens to each program.
func runPrograms() {
	port, err := openPort()
	if err != nil {
		fmt.Println("open the port to the host:", err)
		return
	}
	events := json.NewEncoder(port)
	var orders wire.Orders
	text, err := os.ReadFile(ordersPath)
	if err == nil {
		err = json.Unmarshal(text, &orders)
	}
	if err != nil {
		_ = events.Encode(wire.Event{Fault: fmt.Sprint("read the orders: ", err)})
		return
	}
	for i, p := range orders.Programs {
		exit := runProgram(&p, func(output []byte) {
			_ = events.Encode(wire.Event{Program: i, Output: output})
		})
		_ = events.Encode(wire.Event{Program: i, Exit: &exit})
	}
}

func runProgram(p *wire.Program, written func([]byte)) wire.Exit {
	started := time.Now()
	failed := func(err error) wire.Exit {
		return wire.Exit{Code: -1, Text: err.Error(), Elapsed: time.Since(started)}
	}
	out, in, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(p.Args[0], p.Args[1:]...)
	cmd.Dir, cmd.Env = p.Dir, slices.Concat(p.Env, []string{"TMPDIR=" + temporary})
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		return failed(err)
	}
	if p.Timeout > 0 {
		defer time.AfterFunc(p.Timeout, func() { _ = cmd.Process.Kill() }).Stop()
	}

	// Output ends with the last process that may write to it. That need not be
	// before the program's end, nor soon after it.
	end := make(chan struct{})
	go func() {
		defer close(end)
		buffer := make([]byte, 32<<10)
		for {
			n, err := out.Read(buffer)
			if n > 0 {
				written(buffer[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	err = cmd.Wait()
	_ = out.SetReadDeadline(time.Now().Add(time.Second))
	<-end
	if cmd.ProcessState == nil {
		return failed(err)
	}
	return wire.Exit{Code: cmd.ProcessState.ExitCode(), Text: cmd.ProcessState.String(), Elapsed: time.Since(started)}
}

// openPort opens the only virtio port.
func openPort() (*os.File, error) {
	found, err := filepath.Glob("/dev/vport*p*")
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("no /dev/vport*: %w", os.ErrNotExist)
	}
	return os.OpenFile(found[0], os.O_RDWR, 0)
}
