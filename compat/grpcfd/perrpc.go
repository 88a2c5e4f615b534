// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"context"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// PerRPCCredentials returns credentials that do what cred does (nothing, if it is
// nil) and are an FDTransceiver for the connection that the call goes over. gRPC
// picks that connection when the call is made: what is asked before waits for it.
func PerRPCCredentials(cred credentials.PerRPCCredentials) credentials.PerRPCCredentials {
	if wrapped, ok := cred.(*rpcCredentials); ok {
		return wrapped
	}
	return &rpcCredentials{inner: cred}
}

// FromPerRPCCredentials returns the transceiver of credentials that
// PerRPCCredentials made.
func FromPerRPCCredentials(rpcCredentials credentials.PerRPCCredentials) (transceiver FDTransceiver, ok bool) {
	transceiver, ok = rpcCredentials.(FDTransceiver)
	return transceiver, ok
}

// PerRPCCredentialsFromCallOptions returns the last credentials among opts, nil when
// there are none.
func PerRPCCredentialsFromCallOptions(opts ...grpc.CallOption) credentials.PerRPCCredentials {
	var last credentials.PerRPCCredentials
	for _, opt := range opts {
		if creds, ok := opt.(grpc.PerRPCCredsCallOption); ok {
			last = creds.Creds
		}
	}
	return last
}

type rpcCredentials struct {
	inner credentials.PerRPCCredentials

	mu          sync.Mutex
	transceiver FDTransceiver
	pending     []func(FDTransceiver)
}

var _ FDTransceiver = (*rpcCredentials)(nil)

// GetRequestMetadata runs once gRPC has a connection for the call and before it
// writes to it: descriptors queued here leave with the call's headers.
func (r *rpcCredentials) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if transceiver, ok := FromContext(ctx); ok {
		r.bind(transceiver)
	}
	if r.inner == nil {
		return nil, nil
	}
	return r.inner.GetRequestMetadata(ctx, uri...)
}

func (r *rpcCredentials) RequireTransportSecurity() bool {
	return r.inner != nil && r.inner.RequireTransportSecurity()
}

func (r *rpcCredentials) bind(transceiver FDTransceiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.transceiver != nil {
		return
	}
	r.transceiver = transceiver
	for _, ask := range r.pending {
		ask(transceiver)
	}
	r.pending = nil
}

func (r *rpcCredentials) whenBound(ask func(FDTransceiver)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.transceiver == nil {
		r.pending = append(r.pending, ask)
		return
	}
	ask(r.transceiver)
}

// send hands file to the transceiver, once there is one, and closes it.
func (r *rpcCredentials) send(file *os.File) <-chan error {
	done := make(chan error, 1)
	r.whenBound(func(t FDTransceiver) {
		sent := t.SendFile(file)
		_ = file.Close()
		go pipe(sent, done)
	})
	return done
}

func (r *rpcCredentials) SendFD(fd uintptr) <-chan error {
	dup, err := duplicate(fd)
	if err != nil {
		return failed(err)
	}
	return r.send(os.NewFile(uintptr(dup), "descriptor to send"))
}

func (r *rpcCredentials) SendFile(file SyscallConn) <-chan error {
	var done <-chan error
	err := control(file, func(fd uintptr) error {
		done = r.SendFD(fd)
		return nil
	})
	if err != nil {
		return failed(err)
	}
	return done
}

func (r *rpcCredentials) SendFilename(filename string) <-chan error {
	file, err := openPath(filename)
	if err != nil {
		return failed(err)
	}
	return r.send(file)
}

func (r *rpcCredentials) RecvFD(dev, ino uint64) <-chan uintptr {
	fds := make(chan uintptr, 1)
	r.whenBound(func(t FDTransceiver) { go pipe(t.RecvFD(dev, ino), fds) })
	return fds
}

func (r *rpcCredentials) RecvFile(dev, ino uint64) <-chan *os.File {
	files := make(chan *os.File, 1)
	r.whenBound(func(t FDTransceiver) { go pipe(t.RecvFile(dev, ino), files) })
	return files
}

func (r *rpcCredentials) RecvFDByURL(urlStr string) (<-chan uintptr, error) {
	return byURL(urlStr, r.RecvFD)
}

func (r *rpcCredentials) RecvFileByURL(urlStr string) (<-chan *os.File, error) {
	return byURL(urlStr, r.RecvFile)
}

func pipe[T any](from <-chan T, to chan<- T) {
	defer close(to)
	for v := range from {
		to <- v
	}
}
