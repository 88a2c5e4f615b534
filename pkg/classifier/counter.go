// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Verdict is where a frame went.
type Verdict string

// The verdicts. The classifier drops nothing.
const (
	Redirect Verdict = "redirect" // to the AF_XDP socket of the frame's queue
	Pass     Verdict = "pass"     // to Linux
)

// Counter counts the frames that left for one reason. Every frame is counted
// once. It never decreases while the program is attached, take-overs by the
// same version included.
type Counter struct {
	Verdict Verdict
	// Reason is a stable name in snake case, unique over both verdicts.
	Reason string
	// Help says in one sentence which frames are counted.
	Help string
	// Packets and Bytes over all processors; Bytes from the Ethernet header on,
	// without FCS.
	Packets, Bytes uint64
}

// Name is Verdict and Reason in one, such as "pass_no_pinhole".
func (c Counter) Name() string { return string(c.Verdict) + "_" + c.Reason }

// reasons are the counters by index.
var reasons = [bpfReasonREASONS]Counter{
	bpfReasonREASON_REDIRECT_PINHOLE: {Verdict: Redirect, Reason: "pinhole",
		Help: "Datagrams to a port that is open as a whole."},
	bpfReasonREASON_REDIRECT_VNI: {Verdict: Redirect, Reason: "vni",
		Help: "VXLAN of a VNI that is open on its port."},
	bpfReasonREASON_REDIRECT_FRAGMENT: {Verdict: Redirect, Reason: "fragment",
		Help: "Later fragments of a datagram whose first fragment was redirected."},
	bpfReasonREASON_REDIRECT_VLAN: {Verdict: Redirect, Reason: "vlan",
		Help: "Frames with an 802.1Q id that is held."},
	bpfReasonREASON_PASS_NO_SOCKET: {Verdict: Pass, Reason: "no_socket",
		Help: "Frames to be redirected, on a receive queue without an AF_XDP socket."},
	bpfReasonREASON_PASS_NO_PINHOLE: {Verdict: Pass, Reason: "no_pinhole",
		Help: "UDP to an address and port that is not open."},
	bpfReasonREASON_PASS_NO_VNI: {Verdict: Pass, Reason: "no_vni",
		Help: "VXLAN of a VNI that is not open, on a port that is open for others."},
	bpfReasonREASON_PASS_NOT_VXLAN: {Verdict: Pass, Reason: "not_vxlan",
		Help: "Datagrams without a valid VNI on a port that is open for some VNIs only."},
	bpfReasonREASON_PASS_FRAGMENT_UNKNOWN: {Verdict: Pass, Reason: "fragment_unknown",
		Help: "Later fragments of UDP whose first fragment was not redirected, or not before them."},
	bpfReasonREASON_PASS_FRAGMENT_EXPIRED: {Verdict: Pass, Reason: "fragment_expired",
		Help: "Later fragments whose first fragment was redirected too long ago."},
	bpfReasonREASON_PASS_NOT_UDP: {Verdict: Pass, Reason: "not_udp",
		Help: "IP packets of another protocol than UDP."},
	bpfReasonREASON_PASS_NOT_IP: {Verdict: Pass, Reason: "not_ip",
		Help: "Frames that carry no IP, such as ARP."},
	bpfReasonREASON_PASS_NOT_FINAL: {Verdict: Pass, Reason: "not_final",
		Help: "IPv6 packets with segments left in a routing header."},
	bpfReasonREASON_PASS_TAGS: {Verdict: Pass, Reason: "tags",
		Help: "Frames with more than two VLAN tags."},
	bpfReasonREASON_PASS_EXTENSIONS: {Verdict: Pass, Reason: "extensions",
		Help: "IPv6 packets with more than six extension headers."},
	bpfReasonREASON_PASS_TRUNCATED: {Verdict: Pass, Reason: "truncated",
		Help: "Frames that end before their headers do, or before the IP packet does."},
	bpfReasonREASON_PASS_MALFORMED: {Verdict: Pass, Reason: "malformed",
		Help: "Packets whose headers contradict themselves or each other."},
}

// Counters reads the counters, always all of them and in the same order.
func (c *Classifier) Counters() ([]Counter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("read counters of %s: %w", c.name, ErrClosed)
	}
	list, err := readCounters(c.objects.Counters)
	if err != nil {
		return nil, fmt.Errorf("read counters of %s: %w", c.name, err)
	}
	return list, nil
}

// PinnedCounters reads the counters of a classifier that any process pinned. It
// returns an error wrapping fs.ErrNotExist if there is none.
func PinnedCounters(pinDir, iface string) ([]Counter, error) {
	m, err := ebpf.LoadPinnedMap(pinsOf(pinDir, iface).path(bpfMapCounters), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open pinned counters of %s: %w", iface, err)
	}
	defer m.Close()
	if m.MaxEntries() != uint32(len(reasons)) {
		return nil, fmt.Errorf("open pinned counters of %s: they were pinned by another version", iface)
	}
	list, err := readCounters(m)
	if err != nil {
		return nil, fmt.Errorf("read pinned counters of %s: %w", iface, err)
	}
	return list, nil
}

func readCounters(m *ebpf.Map) ([]Counter, error) {
	list := make([]Counter, 0, len(reasons))
	for reason, counter := range reasons {
		var perCPU []bpfCounter
		if err := m.Lookup(uint32(reason), &perCPU); err != nil {
			return nil, fmt.Errorf("%s: %w", counter.Name(), err)
		}
		for _, one := range perCPU {
			counter.Packets += one.Packets
			counter.Bytes += one.Bytes
		}
		list = append(list, counter)
	}
	return list, nil
}
