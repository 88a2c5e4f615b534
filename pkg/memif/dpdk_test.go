// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/testpmd"
)

// startTestpmd runs DPDK's testpmd on CPU 1, carrying packets between its ports.
func startTestpmd(t testing.TB, devices []string, options ...string) *testpmd.Process {
	t.Helper()
	p, err := testpmd.Start(testpmd.Config{CPU: 1, Mode: "io", Devices: devices, Options: options})
	if errors.Is(err, testpmd.ErrAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// TestDPDKReflects has testpmd send back all packets, in either role. What comes
// back must be what was sent, and both ends must have counted the same.
func TestDPDKReflects(t *testing.T) {
	for _, role := range []string{"server", "client"} {
		for _, rings := range []int{1, 4} {
			t.Run(fmt.Sprintf("testpmd is %s/%d rings", role, rings), func(t *testing.T) {
				reflect(t, role, rings)
			})
		}
	}
}

func reflect(t *testing.T, role string, rings int) {
	cfg := Config{ID: 7, Secret: "between us", RxRings: rings, TxRings: rings, Name: "ours"}
	device := func(socket string) []string {
		return []string{testpmd.Memif(0, role, socket, "id=7", "secret="+cfg.Secret, "rsize=9")}
	}
	options := []string{fmt.Sprintf("--rxq=%d", rings), fmt.Sprintf("--txq=%d", rings)}
	var iface *Interface
	var err error
	var p *testpmd.Process
	if role == "server" {
		socket := filepath.Join(t.TempDir(), "memif.sock")
		p = startTestpmd(t, device(socket), options...)
		iface, err = Slave(Address{Socket: socket}, cfg)
	} else {
		var l *Listener
		var a Address
		l, a = listen(t)
		if iface, err = l.Interface(cfg); err == nil {
			p = startTestpmd(t, device(a.Socket), options...)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer iface.Close()
	conn, err := iface.Connect(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if len(conn.Rx()) != rings || len(conn.Tx()) != rings || !strings.HasPrefix(conn.Peer().Name, "DPDK") {
		t.Fatalf("%d, %d rings with %v", len(conn.Rx()), len(conn.Tx()), conn.Peer())
	}
	if err := p.Forward(); err != nil {
		t.Fatal(err)
	}
	const total = 5000
	size := func(i int) int { return 60 + i%1455 }
	errs := make(chan error)
	for q := range rings {
		go func() { errs <- carry(conn.Tx()[q], conn.Rx()[q], total, size) }()
	}
	for range rings {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	s := iface.Statistics()
	var rx, tx Counter
	for q := range rings {
		if s.Rx[q] != s.Tx[q] || s.Rx[q].Packets != total {
			t.Errorf("ring %d: %+v sent, %+v came back", q, s.Tx[q], s.Rx[q])
		}
		rx.Packets, rx.Bytes = rx.Packets+s.Rx[q].Packets, rx.Bytes+s.Rx[q].Bytes
		tx.Packets, tx.Bytes = tx.Packets+s.Tx[q].Packets, tx.Bytes+s.Tx[q].Bytes
	}
	theirs, err := p.Counters(0)
	if err != nil {
		t.Fatal(err)
	}
	if want := (testpmd.Counters{RxPackets: tx.Packets, RxBytes: tx.Bytes, TxPackets: rx.Packets, TxBytes: rx.Bytes}); theirs != want {
		t.Errorf("testpmd counted %+v, we had %+v", theirs, want)
	}
	if err := p.Quit(); err != nil {
		t.Error(err)
	}
	select {
	case <-conn.Done():
	case <-time.After(10 * time.Second):
		t.Error("testpmd ended and the connection did not")
	}
}
