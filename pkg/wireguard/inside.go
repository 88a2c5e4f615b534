// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"os"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/tun"
)

// Headroom is the least offset that Inside's methods are called with: bytes
// before each packet that may be overwritten, say with a virtio-net header.
const Headroom = 16

// Inside is the end of a tunnel where IP packets go in and come out, without
// link-layer header. Read and Write are called by one goroutine each, never
// again after Close.
type Inside interface {
	// Read waits for IP packets that are to go to the peer and copies each to
	// bufs[i][offset:], its length to sizes[i]. It returns how many, at least
	// one if there is no error. The buffers are 64 KiB; there are
	// HubConfig.BatchSize of them. An error takes the tunnel down.
	Read(bufs [][]byte, sizes []int, offset int) (int, error)
	// Write is given packets from the peer at bufs[i][offset:], authenticated
	// and with a source address that AllowedIPs permits. It returns how many it
	// took. The buffers are not its own after it returns, but what they hold
	// may be overwritten before, also in bufs[i][:offset].
	Write(bufs [][]byte, offset int) (int, error)
	// Close makes Read and Write return an error, also calls that wait.
	Close() error
}

// device is Inside as wireguard-go wants to see it, with counters.
type device struct {
	inside Inside
	mtu    int
	batch  int

	// sealing are packets on their way to the peer, opening those from it.
	sealing, opening *window

	events    chan tun.Event
	closeOnce sync.Once
	closeErr  error

	// Rx is from the peer, tx to it; bytes of IP packets.
	rxPackets, rxBytes, txPackets, txBytes, dropped atomic.Uint64
}

func newDevice(inside Inside, mtu, batch int) *device {
	return &device{
		inside: inside, mtu: mtu, batch: batch,
		sealing: newWindow(), opening: newWindow(),
		events: make(chan tun.Event),
	}
}

func (d *device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	d.sealing.wait()
	n, err := d.inside.Read(bufs, sizes, offset)
	d.sealing.in(n)
	var bytes int
	for _, size := range sizes[:n] {
		bytes += size
	}
	d.txPackets.Add(uint64(n))
	d.txBytes.Add(uint64(bytes))
	return n, err
}

func (d *device) Write(bufs [][]byte, offset int) (int, error) {
	var bytes int
	for _, b := range bufs {
		bytes += len(b) - offset
	}
	d.rxPackets.Add(uint64(len(bufs)))
	d.rxBytes.Add(uint64(bytes))
	d.opening.out(len(bufs))
	n, err := d.inside.Write(bufs, offset)
	d.dropped.Add(uint64(len(bufs) - n))
	return n, err
}

func (d *device) Close() error {
	d.closeOnce.Do(func() {
		d.closeErr = d.inside.Close()
		close(d.events)
	})
	return d.closeErr
}

func (d *device) File() *os.File           { return nil }
func (d *device) MTU() (int, error)        { return d.mtu, nil }
func (d *device) Name() (string, error)    { return "inside", nil }
func (d *device) Events() <-chan tun.Event { return d.events }
func (d *device) BatchSize() int           { return d.batch }
