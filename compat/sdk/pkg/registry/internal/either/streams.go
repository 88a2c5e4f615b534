// SPDX-License-Identifier: Apache-2.0

package either

// RecvWith returns stream with recv in place of its own Recv. R must be the
// responses of the stream.
func RecvWith[R, F any](stream F, recv func() (R, error)) F {
	var with any = stream
	switch s := any(stream).(type) {
	case NSRecv:
		with = &nsRecv{s, any(recv).(func() (NSAnswer, error))}
	case NSERecv:
		with = &nseRecv{s, any(recv).(func() (NSEAnswer, error))}
	}
	return with.(F)
}

type nsRecv struct {
	NSRecv
	recv func() (NSAnswer, error)
}

func (r *nsRecv) Recv() (NSAnswer, error) { return r.recv() }

type nseRecv struct {
	NSERecv
	recv func() (NSEAnswer, error)
}

func (r *nseRecv) Recv() (NSEAnswer, error) { return r.recv() }
