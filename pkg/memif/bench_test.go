// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/testpmd"
)

func BenchmarkSendReceive(b *testing.B) {
	for _, size := range []int{64, 1500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m, s := connected(b, Config{})
			out, in := make([]Packet, 64), make([]Packet, 64)
			for i := range out {
				out[i].Data = make([]byte, size)
			}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for i := 0; i < b.N; i += 64 {
				s.Tx()[0].Send(out)
				m.Rx()[0].Receive(in)
				m.Rx()[0].Release()
			}
		})
	}
}

// BenchmarkBesideTestPMD compares a loop of this package that carries packets of
// 64 bytes between two memifs (a master and a slave) with testpmd doing the
// same in io mode. A goroutine is the source and sink of both, as the slave of
// the one and the master of the other; it and the forwarder have a CPU each:
//
//	go test -run '^$' -bench BesideTestPMD -benchtime 1x ./pkg/memif
//
// They take turns; each is given its best slice of time, since whatever else runs on
// the machine only takes away.
func BenchmarkBesideTestPMD(b *testing.B) {
	if runtime.NumCPU() < 2 {
		b.Skip("needs two CPUs")
	}
	var ours, theirs []float64
	for range 3 {
		ours = append(ours, besideOurs(b)...)
		theirs = append(theirs, besideTheirs(b)...)
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	n := len(ours)
	b.Logf("median packets/s: ours %.0f, testpmd %.0f", ours[n/2], theirs[n/2])
	b.ReportMetric(ours[n-1], "ours-packets/s")
	b.ReportMetric(theirs[n-1], "testpmd-packets/s")
	b.ReportMetric(ours[n-1]/theirs[n-1], "ratio")
	b.ReportMetric(0, "ns/op")
}

// outside makes the ends that the source and sink use, and the addresses of
// the forwarder's: a master's that it is to dial, and one to listen at.
func outside(b *testing.B) (source, sink *Interface, dial, listenAt Address) {
	l, dial := listen(b)
	source, err := l.Interface(Config{})
	if err != nil {
		b.Fatal(err)
	}
	listenAt = Address{Socket: filepath.Join(b.TempDir(), "forwarder.sock")}
	sink, err = Slave(listenAt, Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sink.Close() })
	return source, sink, dial, listenAt
}

func besideOurs(b *testing.B) []float64 {
	source, sink, dial, listenAt := outside(b)
	left, err := Slave(dial, Config{})
	if err != nil {
		b.Fatal(err)
	}
	l, err := Listen(listenAt)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	right, err := l.Interface(Config{})
	if err != nil {
		b.Fatal(err)
	}
	a, in := join(b, source, left)
	out, z := join(b, right, sink)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		pin(b, 1)
		pkts := make([]Packet, 64)
		for !stop.Load() {
			n := in.Rx()[0].Receive(pkts)
			out.Tx()[0].Send(pkts[:n])
			in.Rx()[0].Release()
		}
	})
	rates := measure(b, a, z)
	stop.Store(true)
	wg.Wait()
	return rates
}

func besideTheirs(b *testing.B) []float64 {
	source, sink, dial, listenAt := outside(b)
	p := startTestpmd(b, []string{testpmd.Memif(0, "client", dial.Socket), testpmd.Memif(1, "server", listenAt.Socket)}, "--burst=64")
	ctx := within(b)
	a, err := source.Connect(ctx)
	z, err2 := sink.Connect(ctx)
	if err := errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	defer z.Close()
	if err := p.Forward(); err != nil {
		b.Fatal(err)
	}
	rates := measure(b, a, z)
	if err := p.Quit(); err != nil {
		b.Error(err)
	}
	return rates
}

// measure sends packets at a and counts them at z, in packets/s for each
// slice of 50 ms.
func measure(b *testing.B, a, z *Conn) (rates []float64) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pin(b, 0)
		out, in := make([]Packet, 64), make([]Packet, 64)
		for i := range out {
			out[i].Data = make([]byte, 64)
		}
		count, start := 0, time.Now()
		for len(rates) < 22 {
			for range 50 {
				a.Tx()[0].Send(out)
				for n := 1; n > 0; {
					n = z.Rx()[0].Receive(in)
					z.Rx()[0].Release()
					count += n
				}
			}
			if elapsed := time.Since(start); elapsed > 50*time.Millisecond {
				rates = append(rates, float64(count)/elapsed.Seconds())
				count, start = 0, time.Now()
			}
		}
	}()
	<-done
	return rates[2:]
}

// pin locks the goroutine to a thread of a CPU; the thread ends with the goroutine.
func pin(b *testing.B, cpu int) {
	runtime.LockOSThread()
	var cpus unix.CPUSet
	cpus.Set(cpu)
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		b.Error(err)
	}
}
