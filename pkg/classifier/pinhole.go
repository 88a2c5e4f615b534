// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrNotOpen is returned for closing what is not open.
var ErrNotOpen = errors.New("not open")

// AnyVNI as the VNI of a Pinhole means every datagram of its port.
const AnyVNI = -1

const maxVNI = 1<<24 - 1

// Pinhole lets UDP datagrams to an address and port through to the sockets.
type Pinhole struct {
	Addr netip.Addr // IPv4 or IPv6, no zone; an IPv4-mapped IPv6 address is IPv4
	Port uint16     // not 0
	// VNI below zero lets every datagram through; any other, only VXLAN of that
	// VNI (RFC 7348, 24 bits). While a pinhole for every datagram of a port is
	// open, those for its VNIs make no difference.
	VNI int32
}

func (p Pinhole) String() string {
	to := netip.AddrPortFrom(p.Addr, p.Port).String()
	if p.VNI < 0 {
		return to
	}
	return fmt.Sprintf("%s VNI %d", to, p.VNI)
}

// PinholeStatus is an open pinhole.
type PinholeStatus struct {
	Pinhole
	// References is how often it was opened and not closed.
	References int
}

// port is what is open on one address and port.
type port struct {
	whole bool
	vnis  int
}

func (p port) scope() bpfScope {
	switch {
	case p.whole:
		return bpfScopeSCOPE_PORT
	case p.vnis > 0:
		return bpfScopeSCOPE_VNIS
	}
	return 0
}

// normalize returns the one form that equal pinholes have, and its key.
func (p Pinhole) normalize() (Pinhole, bpfPinholeKey, error) {
	var key bpfPinholeKey
	p.Addr = p.Addr.Unmap()
	switch {
	case !p.Addr.IsValid() || p.Addr.IsUnspecified():
		return p, key, errors.New("address is unspecified")
	case p.Addr.Zone() != "":
		return p, key, errors.New("address has a zone")
	case p.Port == 0:
		return p, key, errors.New("port is 0")
	case p.VNI > maxVNI:
		return p, key, fmt.Errorf("VNI %d has more than 24 bits", p.VNI)
	}
	p.VNI = max(p.VNI, AnyVNI)
	copy(key.Address[:], p.Addr.AsSlice())
	binary.BigEndian.PutUint16(key.Port[:], p.Port)
	key.Family = familyIPv6
	if p.Addr.Is4() {
		key.Family = familyIPv4
	}
	return p, key, nil
}

// FAMILY_IPV4 and FAMILY_IPV6 of bpf/types.h.
const (
	familyIPv4 = 4
	familyIPv6 = 6
)

// Open opens a pinhole, or counts one more use of it. Each Open needs its
// ClosePinhole.
func (c *Classifier) Open(p Pinhole) error {
	p, key, err := p.normalize()
	if err != nil {
		return fmt.Errorf("open pinhole %s: %w", p, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return fmt.Errorf("open pinhole %s: %w", p, err)
	}
	if c.pinholes[p] == 0 {
		if err := c.openPinhole(p, key); err != nil {
			return fmt.Errorf("open pinhole %s: %w", p, err)
		}
	}
	c.pinholes[p]++
	return nil
}

// ClosePinhole takes back one Open; the last one closes the pinhole. It returns
// an error wrapping ErrNotOpen if there is none.
func (c *Classifier) ClosePinhole(p Pinhole) error {
	p, key, err := p.normalize()
	if err != nil {
		return fmt.Errorf("close pinhole %s: %w", p, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return fmt.Errorf("close pinhole %s: %w", p, err)
	}
	switch c.pinholes[p] {
	case 0:
		return fmt.Errorf("close pinhole %s: %w", p, ErrNotOpen)
	case 1:
		if err := c.closePinhole(p, key); err != nil {
			return fmt.Errorf("close pinhole %s: %w", p, err)
		}
		delete(c.pinholes, p)
	default:
		c.pinholes[p]--
	}
	return nil
}

// openPinhole puts the VNI in place before the port that refers to it.
func (c *Classifier) openPinhole(p Pinhole, key bpfPinholeKey) error {
	want := c.ports[key]
	if p.VNI < 0 {
		want.whole = true
		return c.setPort(key, want)
	}
	want.vnis++
	vni := bpfVniKey{Pinhole: key, Vni: uint32(p.VNI)}
	if err := put(c.objects.Vnis, &vni, uint8(1)); err != nil {
		return err
	}
	if err := c.setPort(key, want); err != nil {
		return errors.Join(err, remove(c.objects.Vnis, &vni))
	}
	return nil
}

// closePinhole leaves nothing half closed: if it fails, the pinhole is open.
func (c *Classifier) closePinhole(p Pinhole, key bpfPinholeKey) error {
	want := c.ports[key]
	if p.VNI < 0 {
		want.whole = false
		return c.setPort(key, want)
	}
	want.vnis--
	vni := bpfVniKey{Pinhole: key, Vni: uint32(p.VNI)}
	if err := remove(c.objects.Vnis, &vni); err != nil {
		return err
	}
	if err := c.setPort(key, want); err != nil {
		return errors.Join(err, put(c.objects.Vnis, &vni, uint8(1)))
	}
	return nil
}

func (c *Classifier) setPort(key bpfPinholeKey, want port) error {
	have := c.ports[key]
	var err error
	switch {
	case want.scope() == have.scope():
	case want.scope() == 0:
		err = remove(c.objects.Pinholes, &key)
	default:
		err = put(c.objects.Pinholes, &key, bpfPinhole{Scope: want.scope()})
	}
	switch {
	case err != nil:
		return err
	case want.scope() == 0:
		delete(c.ports, key)
	default:
		c.ports[key] = want
	}
	return nil
}

// OpenVLAN sends all frames whose outermost tag is the 802.1Q id (1 to
// 4094) to the sockets, or counts one more use of that.
func (c *Classifier) OpenVLAN(id uint16) error {
	if id == 0 || id > 4094 {
		return fmt.Errorf("open VLAN %d: id is not within 1 to 4094", id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return fmt.Errorf("open VLAN %d: %w", id, err)
	}
	if c.vlans[id] == 0 {
		if err := put(c.objects.Vlans, &id, uint8(1)); err != nil {
			return fmt.Errorf("open VLAN %d: %w", id, err)
		}
	}
	c.vlans[id]++
	return nil
}

// CloseVLAN takes back one OpenVLAN. It returns an error wrapping ErrNotOpen if
// there is none.
func (c *Classifier) CloseVLAN(id uint16) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return fmt.Errorf("close VLAN %d: %w", id, err)
	}
	switch c.vlans[id] {
	case 0:
		return fmt.Errorf("close VLAN %d: %w", id, ErrNotOpen)
	case 1:
		if err := remove(c.objects.Vlans, &id); err != nil {
			return fmt.Errorf("close VLAN %d: %w", id, err)
		}
		delete(c.vlans, id)
	default:
		c.vlans[id]--
	}
	return nil
}

// Pinholes lists the open pinholes by address, port and VNI.
func (c *Classifier) Pinholes() []PinholeStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]PinholeStatus, 0, len(c.pinholes))
	for p, references := range c.pinholes {
		list = append(list, PinholeStatus{p, references})
	}
	slices.SortFunc(list, func(a, b PinholeStatus) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.VNI, b.VNI))
	})
	return list
}

// VLANs lists the held 802.1Q ids.
func (c *Classifier) VLANs() []uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.vlans))
}

// usable is nil while the maps are for this process to change.
func (c *Classifier) usable() error {
	if c.closed {
		return ErrClosed
	}
	ours, err := c.ours()
	if err == nil && !ours {
		err = ErrTakenOver
	}
	return err
}

func put(m *ebpf.Map, key, value any) error {
	err := m.Put(key, value)
	if errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("limit of %d is reached: %w", m.MaxEntries(), err)
	}
	return err
}

// remove deletes an entry. That it is gone already is what the caller wants.
func remove(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}
