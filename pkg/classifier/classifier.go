// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Config says where to attach the classifier and how.
type Config struct {
	// Interface is the name of the uplink in the network namespace of the
	// calling thread. VLAN and bond interfaces have no native mode: name the
	// interface below.
	Interface string
	// PinDir is a folder on a bpffs, made if need be. Link and maps are pinned
	// in a folder of the interface under it (see PinPath). If it is empty,
	// nothing is pinned and the program leaves the interface with this process.
	PinDir string
	// Mode is Auto, Native or Generic. A pinned program in the other
	// mode is detached and attached anew; Auto keeps it.
	Mode Mode
	// Log is told of fallbacks, take-overs and what was cleaned up. May be nil.
	Log *slog.Logger

	// fault lets tests fail Attach at a step.
	fault func(step) error
}

// ErrClosed is returned by all methods after Close or Detach.
var ErrClosed = errors.New("classifier is closed")

// ErrTakenOver is returned when another process has taken over the pinned
// link: what it attached is no longer for this one to change.
var ErrTakenOver = errors.New("classifier was taken over by another process")

// Classifier is the program on one uplink. All methods are safe for concurrent
// use.
type Classifier struct {
	name  string
	index int
	mode  Mode
	pins  *pins // nil without pins
	link  link.Link
	// program is the id of the program that this process attached.
	program ebpf.ProgramID
	objects bpfObjects

	mu       sync.Mutex // guards what follows, and the maps that steer the program
	closed   bool
	pinholes map[Pinhole]int // open pinholes and how often
	ports    map[bpfPinholeKey]port
	vlans    map[uint16]int
}

// Interface is the name that the uplink had when it was attached to.
func (c *Classifier) Interface() string { return c.name }

// Index is the interface index of the uplink.
func (c *Classifier) Index() int { return c.index }

// Mode is Native or Generic.
func (c *Classifier) Mode() Mode { return c.mode }

// Sockets is the XSKMAP: an AF_XDP socket under the number of its receive queue
// gets the matching frames of that queue. The kernel removes a socket when it
// is closed. The map belongs to the Classifier.
func (c *Classifier) Sockets() *ebpf.Map { return c.objects.XsksMap }

// Attached tells whether the program is still on the uplink: it leaves when the
// interface is deleted, or if somebody detaches the link.
func (c *Classifier) Attached() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, ErrClosed
	}
	_, index, err := linkTarget(c.link)
	if err != nil {
		return false, fmt.Errorf("inspect classifier of %s: %w", c.name, err)
	}
	return index != 0, nil
}

// Close ends this process's use. With pins the program stays on
// the uplink with no pinhole open, so that all frames go to Linux until the
// next process takes over; without, it is detached. If another process has
// taken over already, its pinholes are left alone. Closing twice is no error.
func (c *Classifier) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var errs []error
	if ours, err := c.ours(); err != nil {
		errs = append(errs, err)
	} else if ours {
		errs = append(errs, c.objects.forget())
	}
	if err := c.release(errs); err != nil {
		return fmt.Errorf("close classifier of %s: %w", c.name, err)
	}
	return nil
}

// Detach takes the program off the uplink and removes all pins, and PinDir if
// that leaves it empty. It returns an error wrapping ErrTakenOver, and does
// nothing but Close, if another process has taken over.
func (c *Classifier) Detach() (detached error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("detach classifier of %s: %w", c.name, ErrClosed)
	}
	c.closed = true
	var errs []error
	if c.pins != nil {
		if unlock, err := lockPins(c.pins.root); err != nil {
			errs = append(errs, err)
		} else {
			defer func() { detached = errors.Join(detached, unlock()) }()
		}
	}
	if ours, err := c.ours(); err != nil {
		errs = append(errs, err)
	} else if !ours {
		errs = append(errs, ErrTakenOver)
	} else {
		errs = append(errs, c.link.Detach())
		if c.pins != nil {
			errs = append(errs, c.pins.remove())
		}
	}
	if err := c.release(errs); err != nil {
		return fmt.Errorf("detach classifier of %s: %w", c.name, err)
	}
	return nil
}

// ours tells whether the link still runs the program of this process.
func (c *Classifier) ours() (bool, error) {
	program, _, err := linkTarget(c.link)
	return program == c.program, err
}

func (c *Classifier) release(errs []error) error {
	return errors.Join(append(errs, c.link.Close(), c.objects.Close())...)
}

// linkTarget is the program of a link and the index of its interface; zero if the
// interface is gone.
func linkTarget(l link.Link) (ebpf.ProgramID, int, error) {
	info, err := l.Info()
	if err != nil {
		return 0, 0, err
	}
	xdp := info.XDP()
	if xdp == nil {
		return 0, 0, fmt.Errorf("link %d is of type %d, not XDP", info.ID, info.Type)
	}
	return info.Program, int(xdp.Ifindex), nil
}
