// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/links"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// Config is what a Plane is made from.
type Config struct {
	// Uplink leads to the other nodes. It is closed by the caller, after the
	// plane.
	Uplink *uplink.Uplink
	// Sockets are bound to all queues of the uplink; SocketConfig has good
	// settings. They are the plane's until Close, and the caller closes them
	// afterwards.
	Sockets []*xsk.Socket
	// ReceiveVLANs is to have the uplink deliver frames with VLAN tags, for any
	// address, as they are on the wire. It is called before the first VLAN port is
	// made, and until it succeeds. May be nil.
	ReceiveVLANs func() error
	// Log may be nil.
	Log *slog.Logger

	// MemifThroughWorkers has workers move the packets between two memifs of this
	// node, and count them. Otherwise the two pods share memory (Link.Path
	// "direct memif"), if one of them listens and the other one dials.
	MemifThroughWorkers bool
	// MemifRings is how many rings each way memif ports have that dial, where it
	// is us who decides. Default: 1, as in the stock forwarder, because DPDK
	// allows any number and then looks at those only that it was started with.
	MemifRings int

	// fail lets tests make a step of Join fail.
	fail func(step string) error
}

// Plane is a plane.Plane.
type Plane struct {
	uplink  *uplink.Uplink
	mtu     int // of the underlay, for tunnels
	log     *slog.Logger
	fail    func(step string) error
	workers []*worker
	tagged  tagged

	throughWorkers bool // memif to memif
	memifRings     int
	penalty        time.Duration // of bad memif peers

	tables sync.Mutex // serialises changes of table
	table  atomic.Pointer[table]

	reassembly reassembly
	fragmentID atomic.Uint32 // of the last datagram that was sent in fragments

	closing context.Context // ends with Close
	close   context.CancelFunc

	links *links.Set[*link]

	loads sync.Mutex // guards worker.load
}

var _ plane.Plane = (*Plane)(nil)

// New starts the workers.
func New(cfg Config) (*Plane, error) {
	if cfg.Uplink == nil || len(cfg.Sockets) == 0 {
		return nil, errors.New("start embedded plane: no uplink or no sockets")
	}
	p := &Plane{uplink: cfg.Uplink, log: cfg.Log, fail: cfg.fail}
	p.links = p.noLinks()
	p.throughWorkers, p.memifRings = cfg.MemifThroughWorkers, max(cfg.MemifRings, 1)
	p.penalty = memifPenalty
	p.fragmentID.Store(rand.Uint32()) // not for all to guess (RFC 7739)
	p.tagged.prepare = cfg.ReceiveVLANs
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.mtu = min(cfg.Uplink.MTU(), frameMTU(cfg.Sockets[0].FrameSize()))
	p.closing, p.close = context.WithCancel(context.Background())
	p.table.Store(newTable())
	for id, sock := range cfg.Sockets {
		w, err := newWorker(p, id, sock)
		if err != nil {
			for _, w := range p.workers {
				w.poll.close()
			}
			return nil, fmt.Errorf("start embedded plane: %w", err)
		}
		p.workers = append(p.workers, w)
	}
	for _, w := range p.workers {
		go w.run()
	}
	return p, nil
}

// Kinds lists the kinds of port, best first.
func (p *Plane) Kinds(payload plane.Payload) []plane.Kind {
	var kinds []plane.Kind
	for _, k := range portKinds {
		if k.payload == "" || k.payload == payload {
			kinds = append(kinds, k.kind)
		}
	}
	return kinds
}

// fault is the hook of tests.
func (p *Plane) fault(step string) error {
	if p.fail == nil {
		return nil
	}
	return p.fail(step)
}

func (p *Plane) logf(format string, args ...any) { p.log.Info(fmt.Sprintf(format, args...)) }

// settle returns when no worker uses anything that it found before the call.
func (p *Plane) settle() {
	for _, w := range p.workers {
		w.do(func() {})
	}
}

// leastLoaded chooses the worker for a port; unload takes the choice back.
func (p *Plane) leastLoaded() *worker {
	p.loads.Lock()
	defer p.loads.Unlock()
	best := p.workers[0]
	for _, w := range p.workers {
		if w.load < best.load {
			best = w
		}
	}
	best.load++
	return best
}

func (p *Plane) unload(w *worker) {
	p.loads.Lock()
	defer p.loads.Unlock()
	w.load--
}

// Join makes both ports and lets packets flow between them.
func (p *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	return p.links.Join(ctx, c)
}

// Leave undoes Join.
func (p *Plane) Leave(_ context.Context, id string) error { return p.links.Leave(id, false) }

// Links lists the joined connections, ordered by id.
func (p *Plane) Links() []plane.Link { return p.links.All() }

// Drops are received packets that belonged to no connection, and packets that
// the uplink did not take, by reason. All reasons are in it.
func (p *Plane) Drops() map[string]uint64 {
	p.reassembly.sweep(time.Now(), &p.workers[0].drops)
	drops := make(map[string]uint64, dropReasons)
	for r := packet.OK + 1; r < dropReasons; r++ {
		var n uint64
		for _, w := range p.workers {
			n += w.drops[r].Load()
		}
		drops[dropName(r)] = n
	}
	return drops
}

// Close leaves all connections and stops the workers.
func (p *Plane) Close() error {
	p.close() // whoever waits for a peer gives up
	first, err := p.links.Close(false)
	if first {
		for _, w := range p.workers {
			w.stop()
		}
	}
	return err
}
