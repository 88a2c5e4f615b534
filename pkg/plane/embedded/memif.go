// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tally"
)

// maxMemifRings is how many rings each way a pod that is the slave may make.
const maxMemifRings = 4

// memifPort is a memif of a pod. The pod's program comes and goes as it likes
// (memif_peer.go); packets flow whenever it is there.
//
// Its memory is accepted also where it can be taken away, because that is what
// VPP and DPDK have with huge pages: what looks at it does so within Conn.Guard.
type memifPort struct {
	plane    *Plane
	port     plane.Memif
	id       string // of the connection, for the log
	link     packet.Link
	limit    int // of a packet, in bytes
	netns    *os.File
	listener *memif.Listener // of a master
	iface    *memif.Interface

	// tx are the rings that packets leave by; nil without a peer.
	tx      atomic.Pointer[[]memifTx]
	answers []memifAnswers // by worker

	mu     sync.Mutex
	conn   *memif.Conn // nil without a peer
	reader memifReader // nil unless connected to another port

	cancel context.CancelFunc
	served chan struct{}

	// dropped counts what is lost here. All else is counted by iface.
	dropped []tally.Counters // by worker
}

// memifReader takes packets from the rings of a peer: workers do, or a tunnel
// does.
type memifReader interface {
	// begin starts with the rings of a connection, end stops. When end returns
	// nobody uses the connection on the reader's behalf.
	begin(c *memif.Conn) error
	end()
}

func newMemif(p *Plane, c *plane.Connection, port plane.Memif) (end, error) {
	m := &memifPort{
		plane: p, port: port, id: c.ID,
		dropped: make([]tally.Counters, len(p.workers)),
		answers: make([]memifAnswers, len(p.workers)),
		served:  make(chan struct{}),
	}
	m.setLimit(c)
	if err := m.open(c); err != nil {
		m.release()
		return nil, fmt.Errorf("%s: %w", port, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go m.serve(ctx)
	return m, nil
}

func (m *memifPort) setLimit(c *plane.Connection) {
	m.link, m.limit = packet.Ethernet, c.MTU+packet.EthernetLen
	if c.Payload == plane.IP {
		m.link, m.limit = packet.IP, c.MTU
	}
}

// open makes the socket, or gets ready to dial it.
func (m *memifPort) open(c *plane.Connection) (err error) {
	if err := m.plane.fault("namespace"); err != nil {
		return err
	}
	a, file, err := memifAddress(m.port)
	if err != nil {
		return err
	}
	m.netns = file
	cfg := memif.Config{Name: c.ID, AllowUnsealed: true}
	if m.link == packet.IP {
		cfg.Mode = memif.IP
	}
	cfg.RxRings = m.rings(c)
	cfg.TxRings = cfg.RxRings
	if err := m.plane.fault("socket"); err != nil {
		return err
	}
	if !m.port.Master {
		m.iface, err = memif.Slave(a, cfg)
		return err
	}
	if m.listener, err = memif.Listen(a); err != nil {
		return err
	}
	if err := m.plane.fault("interface"); err != nil {
		return err
	}
	m.iface, err = m.listener.Interface(cfg)
	return err
}

// rings is how many of them there may be each way. A tunnel reads one.
func (m *memifPort) rings(c *plane.Connection) int {
	for _, port := range []plane.Port{c.Client, c.Endpoint} {
		if port.Kind() == plane.KindWireGuard {
			return 1
		}
	}
	if m.port.Master {
		return maxMemifRings
	}
	return m.plane.memifRings
}

// memifAddress is where a port's control socket is. The namespace is held open
// by the file, if there is one, because its path may not last.
func memifAddress(port plane.Memif) (memif.Address, *os.File, error) {
	a := memif.Address{Socket: port.Socket}
	if port.Socket == "" {
		return a, nil, errors.New("no socket")
	}
	if port.NetNS == "" || !strings.HasPrefix(port.Socket, "@") {
		return a, nil, nil
	}
	file, err := os.Open(port.NetNS)
	if err != nil {
		return a, nil, fmt.Errorf("the pod's network namespace cannot be reached: %w", err)
	}
	a.NetNS = fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	dev, ino, err := netns.Identity(a.NetNS)
	if err == nil && (port.Inode != 0 && ino != port.Inode || port.Device != 0 && dev != port.Device) {
		err = fmt.Errorf("%s leads to network namespace %d, not %d: the pod is gone", port.NetNS, ino, port.Inode)
	}
	if err != nil {
		_ = file.Close()
		return a, nil, err
	}
	return a, file, nil
}

func (m *memifPort) connect(_ context.Context, other end) error {
	peer, ok := other.(sink)
	if !ok {
		return nil // the other port reads the rings itself
	}
	if err := m.plane.fault("attach"); err != nil {
		return err
	}
	return m.read(&memifRings{port: m, peer: peer})
}

// read gives the rings to a reader.
func (m *memifPort) read(r memifReader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reader = r
	if m.conn == nil {
		return nil
	}
	if err := r.begin(m.conn); err != nil {
		m.reader = nil
		return fmt.Errorf("%s: %w", m.port, err)
	}
	return nil
}

func (m *memifPort) disconnect() { m.unread(nil) }

// unread takes the rings away from a reader, or from whoever has them.
func (m *memifPort) unread(r memifReader) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reader != nil && (r == nil || r == m.reader) {
		m.reader.end()
		m.reader = nil
	}
}

func (m *memifPort) close() error {
	m.cancel()
	_ = m.iface.Close()
	<-m.served
	m.release()
	return nil
}

// release frees what open has got.
func (m *memifPort) release() {
	if m.listener != nil {
		_ = m.listener.Close()
	}
	if m.netns != nil {
		_ = m.netns.Close()
	}
}

// keep makes the port one of another connection with the same payload.
func (m *memifPort) keep(c *plane.Connection) error {
	if was := len(m.iface.Statistics().Rx); was != m.rings(c) {
		return fmt.Errorf("%s has %d rings, %d are needed", m.port, was, m.rings(c))
	}
	m.setLimit(c)
	return nil
}

func (m *memifPort) count() plane.Counters {
	s, c := m.iface.Statistics(), tally.Sum(m.dropped)
	for _, r := range s.Rx {
		c.RxPackets += r.Packets
		c.RxBytes += r.Bytes
		c.Drops += r.Drops
	}
	for _, r := range s.Tx {
		c.TxPackets += r.Packets
		c.TxBytes += r.Bytes
		c.Drops += r.Drops
	}
	return c
}
