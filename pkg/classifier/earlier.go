// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// pinnedLink is the link that an earlier process left on the interface.
type pinnedLink struct {
	link    link.Link
	program *ebpf.Program // nil if we may not open it (CAP_SYS_ADMIN)
	mode    Mode
}

// remove detaches the link and removes its pins.
func (l *pinnedLink) remove(p *pins) error {
	return errors.Join(l.link.Detach(), p.remove(), l.close())
}

// restore puts the program of the earlier process back.
func (l *pinnedLink) restore() error {
	if l.program == nil {
		return nil
	}
	return l.link.Update(l.program)
}

func (l *pinnedLink) close() error {
	l.closeProgram()
	return l.link.Close()
}

func (l *pinnedLink) closeProgram() {
	if l.program != nil {
		_ = l.program.Close() // only a handle
		l.program = nil
	}
}

// findEarlier looks for the pinned link of the interface, and tidies PinDir on
// the way: pins of interfaces that are gone are removed, and those of an
// interface that was renamed are moved to its present name.
func findEarlier(cfg *Config, d *device) (found *pinnedLink, err error) {
	defer func() {
		if err != nil && found != nil {
			err = errors.Join(err, found.close())
		}
	}()
	own := pinsOf(cfg.PinDir, cfg.Interface)
	entries, err := os.ReadDir(cfg.PinDir)
	if err != nil {
		return nil, fmt.Errorf("read pin folder: %w", err)
	}
	var at *pins
	for _, entry := range entries {
		p := &pins{root: cfg.PinDir, dir: filepath.Join(cfg.PinDir, entry.Name())}
		if !entry.IsDir() || !p.madeByUs() {
			continue
		}
		l, err := p.open(cfg, d)
		if err != nil {
			return found, err
		}
		if l != nil {
			found, at = l, p
		}
	}
	if at != nil && at.dir != own.dir {
		cfg.Log.Info("moving pins of a renamed interface", "from", at.dir, "to", own.dir)
		if err := os.Rename(at.dir, own.dir); err != nil {
			return found, fmt.Errorf("move pins of renamed interface: %w", err)
		}
	}
	if found != nil {
		return found, own.removeNext()
	}
	if _, err := os.Lstat(own.link()); err == nil {
		return nil, fmt.Errorf("pins in %s belong to an interface %s of another network namespace: choose another pin folder",
			own.dir, cfg.Interface)
	}
	// A start that was interrupted while it pinned.
	return nil, own.remove()
}

// madeByUs tells our folders from others that may lie beside them.
func (p *pins) madeByUs() bool {
	_, err := os.Lstat(p.path(bpfMapPinholes))
	return err == nil
}

// open returns the link if it is on the interface d, and removes the pins if it
// is on none.
func (p *pins) open(cfg *Config, d *device) (*pinnedLink, error) {
	l, err := link.LoadPinnedLink(p.link(), nil)
	if errors.Is(err, fs.ErrNotExist) {
		cfg.Log.Info("removing pins that an interrupted start left", "folder", p.dir)
		return nil, p.remove()
	}
	if err != nil {
		return nil, fmt.Errorf("open pinned link %s: %w", p.link(), err)
	}
	program, index, err := linkTarget(l)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inspect pinned link %s: %w", p.link(), err), l.Close())
	}
	if index == 0 {
		cfg.Log.Info("removing pins of an interface that is gone", "folder", p.dir)
		return nil, errors.Join(p.remove(), l.Close())
	}
	for _, on := range d.programs {
		// Program ids are unique, indexes only within a network namespace.
		if index == d.index && on.ID == uint32(program) && (on.Name == "" || on.Ours()) {
			earlier := &pinnedLink{link: l, mode: on.Mode}
			if prog, err := ebpf.NewProgramFromID(program); err == nil {
				earlier.program = prog
			}
			return earlier, nil
		}
	}
	return nil, l.Close()
}
