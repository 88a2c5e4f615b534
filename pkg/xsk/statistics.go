// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Statistics of a socket since it was opened, in packets where not said
// otherwise. The last three of the kernel's are zero before Linux 5.9, where
// RxDropped includes RxRingFull.
type Statistics struct {
	// RxDropped were lost for other reasons than the following: too large for
	// a frame, for instance.
	RxDropped uint64
	// RxInvalid are addresses on the FILL ring that the kernel refused.
	RxInvalid uint64
	// TxInvalid are descriptors on the TX ring that the kernel refused.
	TxInvalid uint64
	// RxRingFull were lost because the caller did not receive in time.
	RxRingFull uint64
	// FillEmpty were lost because there was no frame to receive into.
	FillEmpty uint64
	// TxEmpty is how often the kernel found nothing to send.
	TxEmpty uint64
	// Refused are packets and frames that this package refused: from the
	// caller, because they could not be sent or were not the caller's; from the
	// rings, because they were not the kernel's to give.
	Refused uint64
}

// Statistics reads the counters. It may be called from any goroutine.
func (s *Socket) Statistics() (Statistics, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Statistics{}, fmt.Errorf("read AF_XDP statistics: %w", unix.EBADF)
	}
	var k unix.XDPStatistics
	if _, err := getsockopt(s.fd, unix.SOL_XDP, unix.XDP_STATISTICS, unsafe.Pointer(&k), unsafe.Sizeof(k)); err != nil {
		return Statistics{}, fmt.Errorf("read AF_XDP statistics: %w", err)
	}
	return Statistics{
		RxDropped:  k.Rx_dropped,
		RxInvalid:  k.Rx_invalid_descs,
		TxInvalid:  k.Tx_invalid_descs,
		RxRingFull: k.Rx_ring_full,
		FillEmpty:  k.Rx_fill_ring_empty_descs,
		TxEmpty:    k.Tx_ring_empty_descs,
		Refused:    s.refused.Load(),
	}, nil
}
