// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// facts are what the verdicts are built on.
type facts struct {
	release string

	effective uint64 // capabilities, a bit each
	effErr    error
	memlock   uint64 // bytes

	bpffs   string
	isBPFFS bool

	hugeFree, hugeTotal int
	transparentHuge     string // the chosen mode

	lab lab

	uplink    uplink.Location
	uplinkErr error
	// What follows is about the uplink's device, and empty without one.
	driver      string
	channels    uplink.Channels
	channelsErr error
	tags        tagStripping
	tagsErr     error
	xdp         *classifier.Status
	xdpErr      error
	attach      *attachment // nil: not allowed
}

// tagStripping says whether the device takes VLAN tags off received frames, and
// whether that cannot be changed.
type tagStripping struct{ on, fixed bool }

// attachment is what came of trying on the uplink itself.
type attachment struct {
	native, zeroCopy error
}

func gather(o Options) *facts {
	f := &facts{bpffs: o.BPFFS}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		f.release = unix.ByteSliceToString(name.Release[:])
	}
	f.effective, f.effErr = effectiveCapabilities()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil {
		f.memlock = limit.Cur
	}
	var fs unix.Statfs_t
	f.isBPFFS = unix.Statfs(o.BPFFS, &fs) == nil && fs.Type == unix.BPF_FS_MAGIC
	f.hugePages()
	f.lab = experiment()
	if f.uplink, f.uplinkErr = uplink.Locate(uplink.Config{Tunnel: o.Tunnel, NetNS: o.NetNS}); f.uplinkErr == nil {
		err := netns.Do(o.NetNS, func() error {
			f.lookAtUplink(o.Attach)
			return nil
		})
		f.xdpErr = errors.Join(f.xdpErr, err)
	}
	return f
}

func (f *facts) lookAtUplink(attach bool) {
	if e, err := ethtool.NewEthtool(); err == nil {
		f.driver, _ = e.DriverName(f.uplink.Device)
		e.Close()
	}
	f.channels, f.channelsErr = uplink.ReadChannels(f.uplink.Device)
	f.tags.on, f.tags.fixed, f.tagsErr = uplink.TagStripping(f.uplink.Device)
	f.xdp, f.xdpErr = classifier.Inspect(f.uplink.Device)
	if attach && f.xdpErr == nil && len(f.xdp.Programs) == 0 {
		f.attach = tryUplink(f.uplink.Index)
	}
}

// tryUplink attaches a program that passes everything to Linux, and binds a
// zero-copy socket while it is there.
func tryUplink(index int) *attachment {
	a := new(attachment)
	program, err := passProgram(0)
	if err != nil {
		return &attachment{native: err, zeroCopy: err}
	}
	defer program.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: link.XDPDriverMode})
	if err != nil {
		return &attachment{native: err, zeroCopy: err}
	}
	defer l.Close()
	s, err := xsk.Open(index, 0, xsk.Config{Mode: xsk.ZeroCopy})
	if err != nil {
		a.zeroCopy = err
		return a
	}
	a.zeroCopy = s.Close()
	return a
}

func effectiveCapabilities() (uint64, error) {
	file, err := os.Open("/proc/thread-self/status")
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, errors.New("read capabilities: the kernel tells of none")
}

func (f *facts) hugePages() {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "HugePages_Total:":
			f.hugeTotal = n
		case "HugePages_Free:":
			f.hugeFree = n
		}
	}
	// The chosen one stands in brackets.
	if b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err == nil {
		_, rest, _ := strings.Cut(string(b), "[")
		f.transparentHuge, _, _ = strings.Cut(rest, "]")
	}
}

// kernelTooOld tells a feature that is missing from one that we may not try.
func kernelTooOld(err error) bool {
	return errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EINVAL)
}

func forbidden(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }
