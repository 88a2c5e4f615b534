// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// step names a step of Attach that can fail.
type step string

// The steps of Attach in the order they are taken. A take-over has stepUpdate
// and stepRename where a first attachment has stepAttach and stepPinLink.
const (
	stepLoad    step = "load"
	stepFolder  step = "folder"
	stepPinMaps step = "pin maps"
	stepAttach  step = "attach"
	stepPinLink step = "pin link"
	stepForget  step = "forget"
	stepUpdate  step = "update"
	stepRename  step = "rename"
)

func (c *Config) reach(s step) error {
	if c.fault == nil {
		return nil
	}
	return c.fault(s)
}

// undo takes back the steps of an Attach that failed, last first.
type undo []func() error

func (u *undo) add(f func() error) { *u = append(*u, f) }

func (u *undo) run(cause error) error {
	errs := []error{cause}
	for _, f := range slices.Backward(*u) {
		if err := f(); err != nil {
			errs = append(errs, fmt.Errorf("undo: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Attach puts the classifier on an interface, with no pinhole open.
//
// If PinDir holds the classifier that an earlier process left on this
// interface, it is taken over: the program is replaced atomically; sockets and
// counters stay, pinholes are emptied. Pins of interfaces that are gone are
// removed.
//
// It returns a *ForeignProgramError if any other XDP program is attached. If it
// fails, whatever it had made is undone; a failed take-over leaves the earlier
// program in place.
func Attach(cfg Config) (*Classifier, error) {
	c, err := attach(&cfg)
	if err != nil {
		return nil, fmt.Errorf("attach classifier to %s: %w", cfg.Interface, err)
	}
	return c, nil
}

func attach(cfg *Config) (_ *Classifier, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Mode > Generic {
		return nil, fmt.Errorf("mode %s cannot be asked for", cfg.Mode)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memory limit: %w", err)
	}
	c := &Classifier{
		name:     cfg.Interface,
		pinholes: make(map[Pinhole]int),
		ports:    make(map[bpfPinholeKey]port),
		vlans:    make(map[uint16]int),
	}

	if cfg.PinDir != "" {
		unlock, lockErr := lockPins(cfg.PinDir)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
		c.pins = pinsOf(cfg.PinDir, cfg.Interface)
	}
	device, err := readDevice(cfg.Interface)
	if err != nil {
		return nil, err
	}
	c.index = device.index
	var earlier *pinnedLink
	if c.pins != nil {
		if earlier, err = findEarlier(cfg, device); err != nil {
			return nil, err
		}
	}
	if earlier == nil && len(device.programs) > 0 {
		return nil, foreign(cfg.Interface, device.programs)
	}
	if earlier != nil && cfg.Mode != Auto && earlier.mode != cfg.Mode {
		cfg.Log.Info("attaching in another mode", "interface", c.name, "from", earlier.mode, "to", cfg.Mode)
		if err := earlier.remove(c.pins); err != nil {
			return nil, fmt.Errorf("change mode: %w", err)
		}
		earlier = nil
	}
	if earlier != nil {
		return c, c.takeOver(cfg, earlier)
	}
	return c, c.attachFirst(cfg)
}

// attachFirst makes everything. Maps are pinned before the program sees a frame,
// and the link last: pins without a link are leftovers of a crash.
func (c *Classifier) attachFirst(cfg *Config) (err error) {
	var u undo
	defer func() {
		if err != nil {
			err = u.run(err)
		}
	}()
	if err := c.load(cfg, nil); err != nil {
		return err
	}
	u.add(c.objects.Close)
	if c.pins != nil {
		u.add(c.pins.remove)
		if err := errors.Join(cfg.reach(stepFolder), c.pins.makeDir()); err != nil {
			return err
		}
		if err := errors.Join(cfg.reach(stepPinMaps), c.pins.pinMaps(c.objects.byName(), "")); err != nil {
			return err
		}
	}
	if err := c.attachLink(cfg); err != nil {
		return err
	}
	// A link that was pinned lingers after its pin is gone, unless detached.
	u.add(func() error { return errors.Join(c.link.Detach(), c.link.Close()) })
	if c.pins != nil {
		if err := errors.Join(cfg.reach(stepPinLink), c.link.Pin(c.pins.link())); err != nil {
			return fmt.Errorf("pin link: %w", err)
		}
	}
	return nil
}

// attachLink tries the modes that were asked for, native first.
func (c *Classifier) attachLink(cfg *Config) error {
	if err := cfg.reach(stepAttach); err != nil {
		return err
	}
	var errs []error
	for _, m := range []struct {
		mode  Mode
		flags link.XDPAttachFlags
	}{{Native, link.XDPDriverMode}, {Generic, link.XDPGenericMode}} {
		if cfg.Mode != Auto && cfg.Mode != m.mode {
			continue
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: c.objects.NsmClassifier, Interface: c.index, Flags: m.flags})
		if err == nil {
			if len(errs) > 0 {
				cfg.Log.Warn("native XDP is not possible, using generic mode", "interface", c.name, "reason", errs[0])
			}
			c.link, c.mode = l, m.mode
			return nil
		}
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			// Somebody else was quicker.
			if device, lookErr := readDevice(c.name); lookErr == nil && len(device.programs) > 0 {
				return foreign(c.name, device.programs)
			}
		}
		errs = append(errs, fmt.Errorf("%s mode: %w", m.mode, err))
	}
	return errors.Join(errs...)
}

// takeOver replaces the program of an earlier process. Maps that the program
// cannot use, because another version made them, are made anew and pinned
// beside the old ones until the program has been replaced.
func (c *Classifier) takeOver(cfg *Config, earlier *pinnedLink) (err error) {
	var u undo
	u.add(earlier.link.Close)
	defer func() {
		if err != nil {
			err = u.run(fmt.Errorf("take over: %w", err))
		}
		earlier.closeProgram()
	}()
	kept, err := c.pins.loadMaps()
	if err != nil {
		return err
	}
	defer closeMaps(kept)
	if err := c.load(cfg, kept); err != nil {
		return err
	}
	u.add(c.objects.Close)

	remade := c.objects.byName()
	for name := range kept {
		delete(remade, name)
	}
	u.add(c.pins.removeNext)
	if err := errors.Join(cfg.reach(stepPinMaps), c.pins.pinMaps(remade, suffixNext)); err != nil {
		return err
	}
	if err := errors.Join(cfg.reach(stepForget), c.objects.forget()); err != nil {
		return err
	}
	if err := cfg.reach(stepUpdate); err != nil {
		return err
	}
	if err := earlier.link.Update(c.objects.NsmClassifier); err != nil {
		return fmt.Errorf("replace program: %w", err)
	}
	u.add(earlier.restore)
	if err := errors.Join(cfg.reach(stepRename), c.pins.renameNext(remade)); err != nil {
		return err
	}
	c.link, c.mode = earlier.link, earlier.mode
	cfg.Log.Info("took over the classifier of an earlier process", "interface", c.name,
		"mode", c.mode, "remade maps", len(remade))
	return nil
}

// load loads the program, with the given maps instead of new ones where it can
// use them. Those it cannot use are closed and deleted from kept.
func (c *Classifier) load(cfg *Config, kept map[string]*ebpf.Map) error {
	if err := cfg.reach(stepLoad); err != nil {
		return err
	}
	spec, err := loadSpec(haveMultiBuffer())
	if err != nil {
		return err
	}
	for name, m := range kept {
		if spec.Maps[name].Compatible(m) != nil {
			delete(kept, name)
			_ = m.Close() // only read from
		}
	}
	if err := spec.LoadAndAssign(&c.objects, &ebpf.CollectionOptions{MapReplacements: kept}); err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	info, err := c.objects.NsmClassifier.Info()
	if err != nil {
		return errors.Join(fmt.Errorf("identify program: %w", err), c.objects.Close())
	}
	c.program, _ = info.ID()
	return nil
}
