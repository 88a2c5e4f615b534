// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The pins of one interface: the link and each map, by name, in one folder.
// suffixNext marks maps that wait for the program to be replaced.
const (
	pinLink    = "link"
	suffixNext = "_next"
)

type pins struct {
	root, dir string // of all interfaces, of this one
}

// PinPath is the folder in which the link ("link") and the maps ("xsks_map",
// "counters", ...) of an interface are pinned. It is the name of the
// interface, with bytes that are none of [A-Za-z0-9_-] as %xx: a bpffs takes no
// dots.
func PinPath(pinDir, iface string) string {
	var name strings.Builder
	for _, b := range []byte(iface) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '_', b == '-':
			name.WriteByte(b)
		default:
			fmt.Fprintf(&name, "%%%02x", b)
		}
	}
	return filepath.Join(pinDir, name.String())
}

func pinsOf(pinDir, iface string) *pins {
	return &pins{root: pinDir, dir: PinPath(pinDir, iface)}
}

func (p *pins) link() string { return filepath.Join(p.dir, pinLink) }

func (p *pins) path(name string) string { return filepath.Join(p.dir, name) }

func (p *pins) makeDir() error {
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return fmt.Errorf("make pin folder: %w", err)
	}
	return nil
}

func (p *pins) pinMaps(maps map[string]*ebpf.Map, suffix string) error {
	for name, m := range maps {
		if err := m.Pin(p.path(name + suffix)); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
		// Maps are pinned again by a take-over: the handle need not know.
	}
	return nil
}

// loadMaps opens the pinned maps; those that are missing are left out.
func (p *pins) loadMaps() (map[string]*ebpf.Map, error) {
	maps := make(map[string]*ebpf.Map)
	for _, name := range mapNames {
		m, err := ebpf.LoadPinnedMap(p.path(name), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeMaps(maps)
			return nil, fmt.Errorf("open pinned map %s: %w", name, err)
		}
		maps[name] = m
	}
	return maps, nil
}

func (p *pins) renameNext(maps map[string]*ebpf.Map) error {
	for name := range maps {
		if err := os.Rename(p.path(name+suffixNext), p.path(name)); err != nil {
			return fmt.Errorf("replace pinned map: %w", err)
		}
	}
	return nil
}

func (p *pins) removeNext() error {
	var errs []error
	for _, name := range mapNames {
		errs = append(errs, removeIfThere(p.path(name+suffixNext)))
	}
	return errors.Join(errs...)
}

// remove removes the folder of the interface. Files that we did not make keep it.
func (p *pins) remove() error {
	errs := []error{removeIfThere(p.link())}
	for _, name := range mapNames {
		errs = append(errs, removeIfThere(p.path(name)))
	}
	errs = append(errs, p.removeNext(), removeIfThere(p.dir))
	return errors.Join(errs...)
}

// removeEmpty removes the folder of all interfaces if it holds none.
func removeEmpty(root string) error {
	err := os.Remove(root)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || // other interfaces
		errors.Is(err, unix.EBUSY) || errors.Is(err, fs.ErrNotExist) { // a mount of its own
		return nil
	}
	return err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// lockPins makes the folder of all interfaces and keeps other processes from
// attaching and detaching until unlock is called, which removes the folder again
// if nothing is in it: whoever locks may have made it, also one that then finds
// nothing to do.
func lockPins(dir string) (unlock func() error, err error) {
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make pin folder: %w", err)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return nil, fmt.Errorf("inspect pin folder %s: %w", dir, err)
		}
		if fs.Type != unix.BPF_FS_MAGIC {
			return nil, fmt.Errorf("pin folder %s is not on a bpffs: mount one (mount -t bpf bpf DIR)", dir)
		}
		locked, err := os.Open(dir)
		if err != nil {
			return nil, fmt.Errorf("open pin folder: %w", err)
		}
		if err := unix.Flock(int(locked.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("lock pin folder %s: %w", dir, err), locked.Close())
		}
		if stillThere(locked, dir) {
			return func() error { return errors.Join(removeEmpty(dir), locked.Close()) }, nil
		}
		// Whoever had the lock removed the folder.
		_ = locked.Close()
	}
}

func stillThere(locked *os.File, dir string) bool {
	at, err := os.Stat(dir)
	if err != nil {
		return false
	}
	was, err := locked.Stat()
	return err == nil && os.SameFile(at, was)
}

// Uninstall detaches the classifier that is pinned for an interface and removes
// its pins, also if the interface is gone. It is no error if there is none.
func Uninstall(pinDir, iface string) error {
	if _, err := os.Stat(pinDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lockPins(pinDir)
	if err != nil {
		return fmt.Errorf("uninstall classifier of %s: %w", iface, err)
	}
	p := pinsOf(pinDir, iface)
	var errs []error
	if l, err := link.LoadPinnedLink(p.link(), nil); err == nil {
		errs = append(errs, l.Detach(), l.Close())
	} else if !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, p.remove(), unlock())...); err != nil {
		return fmt.Errorf("uninstall classifier of %s: %w", iface, err)
	}
	return nil
}
