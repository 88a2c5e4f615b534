// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// A pod and a host on its VLAN reach each other, with packets of the exact MTU
// and no larger ones.
func TestVLANHost(t *testing.T) {
	for _, mtu := range []int{1500, 1280, 3400} {
		t.Run(fmt.Sprint("MTU ", mtu), func(t *testing.T) {
			v := newVLANNet(t, mtu, 100, nil)
			v.hold(t, 100)
			pod := newNamespace(t)
			link := v.join(t, pod, 100, 1)
			if link.MTU != mtu || link.Path != "embedded" {
				t.Errorf("link %+v", link)
			}
			for _, to := range []string{"10.7.0.9", "fd07::9"} {
				pod.ping(t, to)
			}
			for _, to := range []string{"10.7.0.1", "fd07::1"} {
				v.host.ping(t, to)
			}
			stream(t, pod, v.host, "10.7.0.9", 8<<20)
			stream(t, v.host, pod, "fd07::1", 8<<20)

			// A pod that does not know its MTU.
			if err := pod.handle.LinkSetMTU(pod.link(t, "nsm-1"), 9000); err != nil {
				t.Fatal(err)
			}
			for _, to := range []struct {
				addr     string
				overhead int
			}{{"10.7.0.9", 28}, {"fd07::9", 48}} {
				conn := pod.dialUDP(t, v.host.echo(t, to.addr), to.addr == "10.7.0.9")
				exact := make([]byte, mtu-to.overhead)
				if err := roundTrip(conn, exact); err != nil {
					t.Errorf("%s, exact: %v", to.addr, err)
				}
				if err := roundTrip(conn, append(exact, 0)); !errors.Is(err, unix.EMSGSIZE) {
					t.Errorf("%s, one byte more: error %v, want EMSGSIZE", to.addr, err)
				}
			}
			stream(t, pod, v.host, "10.7.0.9", 4<<20)
		})
	}
}

// What the classifier, both ports and the wire count agrees.
func TestVLANCounters(t *testing.T) {
	v := newVLANNet(t, 1500, 100, nil)
	v.hold(t, 100)
	pod := newNamespace(t)
	v.join(t, pod, 100, 1)
	in, out := v.host.tap(t, "uplink"), pod.tap(t, "nsm-1")
	const n, size = 500, 14 + 200
	to := mac(pod.link(t, "nsm-1").Attrs().HardwareAddr)
	for range n {
		in.send(t, between(to, mac{2, 0, 0, 0, 0, 9}, 200))
		out.send(t, between(mac{2, 0, 0, 0, 0, 9}, to, 200))
	}
	v.eventually(t, "all frames", func() bool {
		inPod, inVLAN := v.counters(t, 1)
		redirected := v.verdict(t, "redirect_vlan")
		return inVLAN.RxPackets >= n && inVLAN.TxPackets >= n && inVLAN.RxBytes >= n*size && inVLAN.TxBytes >= n*size &&
			redirected == inVLAN.RxPackets && inVLAN.RxPackets == inPod.TxPackets && inVLAN.RxBytes == inPod.TxBytes &&
			inPod.RxPackets == inVLAN.TxPackets && inPod.RxBytes == inVLAN.TxBytes && inPod.Drops+inVLAN.Drops == 0
	})
}

// between is a frame that nobody answers.
func between(to, from mac, ipLen int) []byte {
	f := inner(ipLen, 1)
	copy(f, to[:])
	copy(f[6:], from[:])
	return f
}

// Frames on the wire have the tag, and nothing else is changed.
func TestVLANFramesOnTheWire(t *testing.T) {
	v := newVLANNet(t, 1500, 0, nil)
	v.hold(t, 0xabc)
	pod := newNamespace(t)
	v.join(t, pod, 0xabc, 1)
	wire, out := v.host.tap(t, "uplink"), pod.tap(t, "nsm-1")
	own := mac(pod.link(t, "nsm-1").Attrs().HardwareAddr)
	for _, at := range []tap{wire, out} {
		if err := unix.SetsockoptInt(int(at), unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			t.Fatal(err)
		}
	}
	sent := between(mac{2, 0, 0, 0, 0, 9}, own, 100)
	out.send(t, sent)
	if control, protocol := wire.awaitTagged(t, sent); control != 0xabc || protocol != unix.ETH_P_8021Q {
		t.Errorf("control %#x, protocol %#x", control, protocol)
	}

	tagged := func(tags string, f []byte) []byte {
		return append(append(bytes.Clone(f[:12]), tags...), f[12:]...)
	}
	back := between(own, mac{2, 0, 0, 0, 0, 9}, 100)
	for _, c := range []struct {
		name  string
		sent  []byte
		got   []byte // nil for not at all
		inner uint16 // tag of it
		pass  string // the classifier's reason, for not at all
	}{
		{"tagged", tagged("\x81\x00\x0a\xbc", back), back, 0, ""},
		{"with priority and drop eligibility", tagged("\x81\x00\xfa\xbc", back), back, 0, ""},
		{"two tags: the inner one is the pod's", tagged("\x81\x00\x0a\xbc\x81\x00\x00\x07", back), back, 7, ""},
		{"padded", tagged("\x81\x00\x0a\xbc", append(bytes.Clone(back), 0, 0, 0)), append(bytes.Clone(back), 0, 0, 0), 0, ""},
		{"of an id that we do not hold", tagged("\x81\x00\x0a\xbd", back), nil, 0, "pass_no_pinhole"},
		{"with the id inside only", tagged("\x81\x00\x00\x07\x81\x00\x0a\xbc", back), nil, 0, "pass_no_pinhole"},
		{"with a service tag", tagged("\x88\xa8\x0a\xbc", back), nil, 0, "pass_no_pinhole"},
		{"priority tag", tagged("\x81\x00\x00\x00", back), nil, 0, "pass_no_pinhole"},
		{"not tagged", back, nil, 0, "pass_no_pinhole"},
		{"ends within the tag", tagged("\x81\x00\x0a\xbc", back)[:16], nil, 0, "pass_truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := uint64(0)
			if c.pass != "" {
				before = v.verdict(t, c.pass)
			}
			wire.send(t, c.sent)
			if c.got != nil {
				if control, _ := out.awaitTagged(t, c.got); control != c.inner {
					t.Errorf("the pod's tag is %#x, want %#x", control, c.inner)
				}
				return
			}
			v.eventually(t, c.pass, func() bool { return v.verdict(t, c.pass) > before })
			marker := between(own, mac{2, 0, 0, 0, 0, 10}, 60)
			wire.send(t, tagged("\x81\x00\x0a\xbc", marker))
			out.await(t, "the next frame, and not this one", func(f []byte) bool {
				if bytes.Equal(f, back) {
					t.Error("the pod got it")
				}
				return bytes.Equal(f, marker)
			})
		})
	}
}

// Pods on one VLAN of a node, and a host outside, are one broadcast domain. A pod
// on another VLAN is not in it.
func TestPodsOfOneVLAN(t *testing.T) {
	v := newVLANNet(t, 1500, 100, nil)
	v.hold(t, 100)
	v.hold(t, 101)
	pods := []*namespace{newNamespace(t), newNamespace(t), newNamespace(t), newNamespace(t)}
	for i, id := range []uint16{100, 100, 100, 101} {
		v.join(t, pods[i], id, i+1)
	}
	for i, pod := range pods[:3] {
		pod.ping(t, "10.7.0.9")
		for k := range 3 {
			if k != i {
				pod.ping(t, fmt.Sprintf("10.7.0.%d", k+1))
				pod.ping(t, fmt.Sprintf("fd07::%d", k+1))
			}
		}
	}
	v.host.ping(t, "10.7.0.3")
	stream(t, pods[0], pods[1], "10.7.0.2", 8<<20)
	stream(t, pods[2], v.host, "10.7.0.9", 8<<20)
	macs := make([]mac, len(pods))
	taps := make([]tap, len(pods))
	for i, pod := range pods {
		macs[i] = mac(pod.link(t, "nsm-1").Attrs().HardwareAddr)
		taps[i] = pod.tap(t, "nsm-1")
	}
	outside := v.host.tap(t, "uplink")
	all := mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	nobody := mac{2, 0xee, 0, 0, 0, 1}
	everywhere := []tap{taps[0], taps[1], taps[2], taps[3], outside}
	for i, c := range []struct {
		name     string
		from     tap
		to, self mac
		get      []tap
	}{
		{"from a pod to all", taps[0], all, macs[0], []tap{taps[1], taps[2], outside}},
		{"from a pod to a group", taps[1], mac{1, 0, 0x5e, 0, 0, 7}, macs[1], []tap{taps[0], taps[2], outside}},
		{"from outside to all", outside, all, mac{2, 0, 0, 0, 0, 9}, taps[:3]},
		{"from a pod to another", taps[0], macs[1], macs[0], taps[1:2]},
		{"from a pod to one on another VLAN", taps[0], macs[3], macs[0], []tap{outside}},
		{"from outside to a pod", outside, macs[2], mac{2, 0, 0, 0, 0, 9}, taps[2:3]},
		{"from outside to nobody known", outside, nobody, mac{2, 0, 0, 0, 0, 9}, taps[:3]},
		{"from a pod to nobody known", taps[2], nobody, macs[2], []tap{outside}},
		{"from a pod to itself", taps[2], macs[2], macs[2], nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := between(c.to, c.self, 100+i)
			c.from.send(t, sent)
			for _, to := range c.get {
				to.await(t, "the frame", func(f []byte) bool { return bytes.Equal(f, sent) })
			}
			// Whoever should not have it gets another one after it.
			after := between(all, c.self, 300+i)
			c.from.send(t, after)
			for k, to := range everywhere {
				reached := k < 3 || k == 4
				if to == c.from || !reached || slices.Contains(c.get, to) {
					continue
				}
				to.await(t, "the frame after", func(f []byte) bool {
					if bytes.Equal(f, sent) {
						t.Errorf("%d got it", k)
					}
					return bytes.Equal(f, after)
				})
			}
		})
	}

	// The others go on without one of them.
	if err := v.Leave(t.Context(), "c2"); err != nil {
		t.Fatal(err)
	}
	pods[0].ping(t, "10.7.0.3")
	v.host.ping(t, "10.7.0.1")
}

// A pod is found at other addresses than the one that its interface was made with,
// once it has spoken; it cannot take those of others, nor have any number.
func TestVLANAddresses(t *testing.T) {
	v := newVLANNet(t, 1500, 100, nil)
	v.hold(t, 100)
	pods := []*namespace{newNamespace(t), newNamespace(t)}
	var taps []tap
	var macs []mac
	for i, pod := range pods {
		v.join(t, pod, 100, i+1)
		taps = append(taps, pod.tap(t, "nsm-1"))
		macs = append(macs, mac(pod.link(t, "nsm-1").Attrs().HardwareAddr))
	}
	pods[0].ping(t, "10.7.0.2")
	domain := v.table.Load().vlans[100]
	known := func() *stations { return domain.stations.Load() }

	uplink := mac(v.nodes[0].link(t, "uplink").Attrs().HardwareAddr)
	for _, c := range []struct {
		name string
		from mac
	}{
		{"another pod's", macs[1]},
		{"the uplink's", uplink},
		{"a group's", mac{1, 0, 0x5e, 0, 0, 1}},
		{"none", mac{}},
	} {
		t.Run("the pod's address is not "+c.name, func(t *testing.T) {
			_, before := v.counters(t, 1)
			taps[0].send(t, between(mac{2, 0, 0, 0, 0, 9}, c.from, 100))
			v.eventually(t, "a drop", func() bool {
				_, now := v.counters(t, 1)
				return now.Drops == before.Drops+1
			})
			if at := known().at; at[macs[1]] != v.port(2) || at[c.from] != nil && c.from != macs[1] {
				t.Errorf("stations %v", at)
			}
		})
	}

	t.Run("another address", func(t *testing.T) {
		other := mac{2, 0xaa, 0, 0, 0, 1}
		taps[0].send(t, between(mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, other, 100))
		v.eventually(t, "it is known", func() bool { return known().at[other] == v.port(1) })
		sent := between(other, macs[1], 200)
		taps[1].send(t, sent)
		taps[0].await(t, "a frame to it", func(f []byte) bool { return bytes.Equal(f, sent) })
		// The pod that has it first keeps it.
		_, before := v.counters(t, 2)
		taps[1].send(t, between(mac{2, 0, 0, 0, 0, 9}, other, 100))
		v.eventually(t, "a drop", func() bool {
			_, now := v.counters(t, 2)
			return now.Drops == before.Drops+1
		})
	})

	t.Run("any number", func(t *testing.T) {
		for i := range 5000 {
			taps[0].send(t, between(mac{2, 0, 0, 0, 0, 9}, mac{2, 0xbb, 0, 0, byte(i >> 8), byte(i)}, 60))
		}
		p := v.port(1)
		v.eventually(t, "the port has enough", func() bool { return p.full.Load() && len(p.heard) == 0 })
		if n := len(known().at); n > 2+maxLearned {
			t.Errorf("%d addresses are known", n)
		}
		// It still gets what goes to the others, as nobody known does.
		sent := between(mac{2, 0xbb, 0, 0, 0x13, 0x80}, macs[1], 210)
		taps[1].send(t, sent)
		taps[0].await(t, "a frame to one of many", func(f []byte) bool { return bytes.Equal(f, sent) })
	})

	pods[0].ping(t, "10.7.0.2")
	if err := v.Leave(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	if at := known().at; len(at) != 1 || domain.unknown.Load() != 0 {
		t.Errorf("stations %v are left, %d unknown", at, domain.unknown.Load())
	}
}

// port is the VLAN end of the connection that join has made with x.
func (v *vlanNet) port(x int) *vlanPort {
	return v.ends(fmt.Sprint("c", x))[1].(*vlanPort)
}

func TestBadVLANs(t *testing.T) {
	prepared := errors.New("no promiscuous mode")
	v := newVLANNet(t, 1500, 0, nil)
	pod := newNamespace(t)
	kernel := pod.port(t, "nsm-1")
	fds := descriptors(t)
	for _, c := range []struct {
		name     string
		conn     plane.Connection
		prepare  error
		contains string
		is       error
	}{
		{"IP payload", plane.Connection{Payload: plane.IP, Client: kernel, Endpoint: plane.VLAN{ID: 100}}, nil, "carries Ethernet", plane.ErrUnsupported},
		{"id 0", plane.Connection{Payload: plane.Ethernet, Client: kernel, Endpoint: plane.VLAN{}}, nil, "between 1 and 4094", nil},
		{"id 4095", plane.Connection{Payload: plane.Ethernet, Client: kernel, Endpoint: plane.VLAN{ID: 4095}}, nil, "between 1 and 4094", nil},
		{"another uplink", plane.Connection{Payload: plane.Ethernet, Client: kernel, Endpoint: plane.VLAN{ID: 100, Uplink: "eth7"}}, nil, "eth7", plane.ErrUnsupported},
		{"two VLANs", plane.Connection{Payload: plane.Ethernet, Client: plane.VLAN{ID: 100}, Endpoint: plane.VLAN{ID: 101}}, nil, "in a pod only", plane.ErrUnsupported},
		{"MTU does not fit", plane.Connection{Payload: plane.Ethernet, MTU: 1501, Client: kernel, Endpoint: plane.VLAN{ID: 100}}, nil, "leaves 1500", nil},
		{"the uplink delivers no tags", plane.Connection{Payload: plane.Ethernet, Client: kernel, Endpoint: plane.VLAN{ID: 100}}, prepared, "deliver tagged", prepared},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.tagged = tagged{prepare: func() error { return c.prepare }}
			c.conn.ID = "c1"
			_, err := v.Join(context.Background(), &c.conn)
			if err == nil || !strings.Contains(err.Error(), c.contains) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v", err)
			}
			v.pristine(t, fds, pod)
		})
	}
	if kinds := v.Kinds(plane.IP); slices.Contains(kinds, plane.KindVLAN) {
		t.Errorf("for IP there are %v", kinds)
	}
	if kinds := fmt.Sprint(v.Kinds(plane.Ethernet)); kinds != "[MEMIF KERNEL VXLAN VLAN]" {
		t.Errorf("for Ethernet there are %v", kinds)
	}
}

// Each step of Join fails once, and nothing is left behind.
func TestFailedVLANStepsLeaveNothing(t *testing.T) {
	var steps []string
	failing := -1
	v := newVLANNet(t, 1500, 0, func(step string) error {
		steps = append(steps, step)
		if len(steps)-1 == failing {
			return errors.New("made to fail")
		}
		return nil
	})
	pod := newNamespace(t)
	fds := descriptors(t)
	c := &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 100}}
	if _, err := v.Join(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := v.Leave(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	v.pristine(t, fds, pod)
	all := steps
	if len(all) < 5 {
		t.Fatalf("only steps %v", all)
	}
	for i, step := range all {
		failing, steps = i, nil
		if _, err := v.Join(t.Context(), c); err == nil || !strings.Contains(err.Error(), "made to fail") {
			t.Fatalf("step %d, %s: error %v", i, step, err)
		}
		v.pristine(t, fds, pod)
	}
	failing = -1
	if _, err := v.Join(t.Context(), c); err != nil {
		t.Error(err)
	}
}

// A pod's VLAN changes, and its interface stays.
func TestVLANIsReplaced(t *testing.T) {
	v := newVLANNet(t, 1500, 101, nil)
	v.hold(t, 100)
	v.hold(t, 101)
	pod := newNamespace(t)
	v.join(t, pod, 100, 1)
	index := pod.link(t, "nsm-1").Attrs().Index
	if _, err := v.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 101},
	}); err != nil {
		t.Fatal(err)
	}
	if got := pod.link(t, "nsm-1").Attrs().Index; got != index {
		t.Errorf("the interface was made anew: index %d, was %d", got, index)
	}
	if ids := len(v.table.Load().vlans); ids != 1 {
		t.Errorf("%d VLANs are in the table", ids)
	}
	pod.ping(t, "10.7.0.9")
}

// The packet path of VLANs does not allocate, whoever sends to whom, and however
// many addresses a pod makes up.
func TestVLANPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	v := newVLANNet(t, 1500, 0, nil)
	v.hold(t, 100)
	pods := []*namespace{newNamespace(t), newNamespace(t)}
	var macs []mac
	for i, pod := range pods {
		v.join(t, pod, 100, i+1)
		macs = append(macs, mac(pod.link(t, "nsm-1").Attrs().HardwareAddr))
	}
	host, all := mac{2, 0, 0, 0, 0, 9}, mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	tagged := func(f []byte) []byte { return append(append(bytes.Clone(f[:12]), 0x81, 0, 0, 100), f[12:]...) }
	ports := []*vlanPort{v.port(1), v.port(2)}
	many := pods[0].tap(t, "nsm-1")
	sent := func() uint64 { return ports[0].count().TxPackets }
	received := func() uint64 { return ports[1].count().RxPackets }
	fromPod := func(f []byte) func() func() {
		return func() func() { return pods[0].flood(t, "nsm-1", f) }
	}
	fromWire := func(f []byte) func() func() {
		return func() func() { return v.host.flood(t, "uplink", tagged(f)) }
	}
	for _, c := range []struct {
		name  string
		flood func() (stop func())
		count func() uint64
	}{
		{"pod to wire", fromPod(between(host, macs[0], 1000)), sent},
		{"pod to pod", fromPod(between(macs[1], macs[0], 1000)), received},
		{"pod to all", fromPod(between(all, macs[0], 1000)), received},
		{"pod with too many addresses", func() func() {
			for i := range byte(100) {
				many.send(t, between(host, mac{2, 0xbb, 0, 0, 0, i}, 60))
			}
			return pods[0].flood(t, "nsm-1", between(host, mac{2, 0xbb, 0, 0, 0, 99}, 1000))
		}, sent},
		{"wire to pod", fromWire(between(macs[1], host, 1000)), received},
		{"wire to all", fromWire(between(all, host, 1000)), received},
	} {
		t.Run(c.name, func(t *testing.T) { v.allocatesNothing(t, 20_000, c.flood, c.count) })
	}
}

// awaitTagged waits for a frame, and returns the tag that the kernel has taken out
// of it: struct tpacket_auxdata.
func (p tap) awaitTagged(t testing.TB, frame []byte) (control, protocol uint16) {
	t.Helper()
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		n, c, _, _, err := unix.Recvmsg(int(p), buf, oob, 0)
		if err != nil || !bytes.Equal(buf[:n], frame) {
			continue
		}
		messages, err := unix.ParseSocketControlMessage(oob[:c])
		if err != nil || len(messages) != 1 || len(messages[0].Data) < 20 {
			t.Fatalf("control messages %v, %v", messages, err)
		}
		aux := messages[0].Data
		return binary.NativeEndian.Uint16(aux[16:]), binary.NativeEndian.Uint16(aux[18:])
	}
	t.Fatal("no frame within 5 s")
	return 0, 0
}
