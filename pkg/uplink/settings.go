// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// Settings changes settings of the host, and puts them back. What was there is
// written to a file before anything is changed, so that a process that was
// killed leaves its successor able to restore it.
//
// Methods are safe for concurrent use within one process; one process at a time
// may have the file.
type Settings struct {
	config SettingsConfig

	mu      sync.Mutex
	changes []Change
}

// SettingsConfig says where settings are changed and what was changed is kept.
type SettingsConfig struct {
	// Path of the state file. It should lie where it outlives the process, and
	// need not outlive the machine: after a reboot it is ignored.
	Path string
	// NetNS is a path to the namespace of the links, empty for the caller's.
	NetNS string
	// Log is told of every change, before it is made, and of what is put back.
	Log func(format string, args ...any)
}

// Change is a setting that is not as it was.
type Change struct {
	// Kind is "mtu", "promiscuous", "channels", "feature" or "bpffs".
	Kind string `json:"kind"`
	// Target is the name of a link, or a path; Key the name of a feature.
	Target string `json:"target"`
	Key    string `json:"key,omitempty"`
	// Index of the link: another link of that name is none of ours.
	Index int `json:"index,omitempty"`
	// Was and Now are the values before and after.
	Was  string    `json:"was"`
	Now  string    `json:"now"`
	Time time.Time `json:"time"`
}

func (c Change) String() string {
	what := c.Kind
	if c.Key != "" {
		what += " " + c.Key
	}
	return what + " of " + c.Target
}

func (c Change) same(o Change) bool {
	return c.Kind == o.Kind && c.Target == o.Target && c.Key == o.Key && c.Index == o.Index
}

// stateFile is what the file holds.
type stateFile struct {
	Boot    string   `json:"boot"`
	Changes []Change `json:"changes"`
}

// OpenSettings reads what an earlier process has changed and not put back.
func OpenSettings(c SettingsConfig) (*Settings, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	s := &Settings{config: c}
	b, err := os.ReadFile(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read changed host settings: %w", err)
	}
	var f stateFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("read changed host settings from %s (remove the file to forget them): %w", c.Path, err)
	}
	if boot, err := bootID(); err != nil || f.Boot != boot {
		c.Log("host settings in %s were changed before the last boot and are forgotten", c.Path)
		return s, err
	}
	s.changes = f.Changes
	for _, change := range s.changes {
		c.Log("an earlier forwarder changed %s from %q to %q", change, change.Was, change.Now)
	}
	return s, nil
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Changes lists what Restore would put back, oldest first.
func (s *Settings) Changes() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.changes)
}

// set changes one setting. The first value that was found is the one that is
// kept, however often it is changed.
func (s *Settings) set(c Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netns.Do(s.config.NetNS, func() error {
		k := knobs[c.Kind]
		now, index, err := k.read(c)
		if err != nil {
			return fmt.Errorf("read %s: %w", c, err)
		}
		if now == c.Now {
			return nil
		}
		c.Was, c.Index, c.Time = now, index, time.Now()
		before := slices.Clone(s.changes)
		if i := slices.IndexFunc(s.changes, c.same); i >= 0 {
			s.changes[i].Now = c.Now
		} else {
			s.changes = append(s.changes, c)
		}
		if err := s.save(); err != nil {
			s.changes = before
			return fmt.Errorf("change %s: %w", c, err)
		}
		s.config.Log("changing %s from %q to %q; it is put back at the end", c, c.Was, c.Now)
		if err := k.write(c, c.Now); err != nil {
			s.changes = before
			return errors.Join(fmt.Errorf("change %s from %q to %q: %w", c, c.Was, c.Now, err), s.save())
		}
		return nil
	})
}

// Restore puts everything back that is still as we left it, latest first. What
// somebody else has changed since stays, and so does a BPF file system that
// has pins. The error tells what could not be put back; it stays recorded.
func (s *Settings) Restore() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netns.Do(s.config.NetNS, func() error {
		var errs []error
		for _, c := range slices.Backward(slices.Clone(s.changes)) {
			keep, err := s.restore(c)
			if err != nil {
				errs = append(errs, fmt.Errorf("restore %s to %q: %w", c, c.Was, err))
			}
			if keep {
				continue
			}
			s.changes = slices.DeleteFunc(s.changes, c.same)
			if err := s.save(); err != nil {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

func (s *Settings) restore(c Change) (keep bool, err error) {
	k := knobs[c.Kind]
	if k == nil {
		return true, errors.New("an unknown kind of setting: it was changed by a later version")
	}
	now, index, err := k.read(c)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && index != c.Index:
		s.config.Log("%s is gone, with its settings", c.Target)
		return false, nil
	case err != nil:
		return true, err
	case now == c.Was:
		return false, nil
	case now != c.Now:
		s.config.Log("%s is %q, which is not our doing, and stays so", c, now)
		return false, nil
	}
	err = k.write(c, c.Was)
	if errors.Is(err, errInUse) {
		s.config.Log("%s stays: %v", c, err)
		return true, nil
	}
	if err == nil {
		s.config.Log("put back %s from %q to %q", c, c.Now, c.Was)
	}
	return err != nil, err
}

// save replaces the file as a whole; it is on the disk when save returns.
func (s *Settings) save() error {
	if len(s.changes) == 0 {
		if err := os.Remove(s.config.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget changed host settings: %w", err)
		}
		return nil
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(stateFile{boot, s.changes}, "", "  ")
	if err != nil {
		return fmt.Errorf("record changed host settings: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(s.config.Path), filepath.Base(s.config.Path)+".*")
	if err != nil {
		return fmt.Errorf("record changed host settings: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.config.Path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("record changed host settings: %w", err)
	}
	return nil
}
