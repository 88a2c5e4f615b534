// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// TransportCredentials returns credentials that do what cred does (nothing, if it is
// nil) over a connection that can carry descriptors. Each of the capturers gets the
// sender of every connection that is made.
func TransportCredentials(cred credentials.TransportCredentials, capturers ...func(FDSender)) credentials.TransportCredentials {
	if wrapped, ok := cred.(*transportCredentials); ok {
		return wrapped
	}
	return &transportCredentials{inner: cred, capturers: capturers}
}

type transportCredentials struct {
	inner     credentials.TransportCredentials
	capturers []func(FDSender)
}

func (t *transportCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return t.handshake(raw, func(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
		return t.inner.ClientHandshake(ctx, authority, c)
	})
}

func (t *transportCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return t.handshake(raw, func(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
		return t.inner.ServerHandshake(c)
	})
}

func (t *transportCredentials) handshake(raw net.Conn, inner func(net.Conn) (net.Conn, credentials.AuthInfo, error)) (net.Conn, credentials.AuthInfo, error) {
	wrapped := wrap(raw)
	result, info := wrapped, credentials.AuthInfo(nil)
	if t.inner != nil {
		var err error
		if result, info, err = inner(wrapped); err != nil {
			return nil, nil, err
		}
	}
	if sender, ok := wrapped.(FDSender); ok {
		for _, capture := range t.capturers {
			capture(sender)
		}
	}
	return result, info, nil
}

func (t *transportCredentials) Info() credentials.ProtocolInfo {
	if t.inner == nil {
		return credentials.ProtocolInfo{}
	}
	return t.inner.Info()
}

func (t *transportCredentials) Clone() credentials.TransportCredentials {
	clone := &transportCredentials{capturers: t.capturers}
	if t.inner != nil {
		clone.inner = t.inner.Clone()
	}
	return clone
}

func (t *transportCredentials) OverrideServerName(name string) error {
	if t.inner == nil {
		return nil
	}
	//nolint:staticcheck // part of the interface until gRPC removes it
	return t.inner.OverrideServerName(name)
}

// WithTransportCredentials is grpc.WithTransportCredentials with TransportCredentials
// around creds.
func WithTransportCredentials(creds credentials.TransportCredentials, capturers ...func(FDSender)) grpc.DialOption {
	return &transportOption{
		DialOption: grpc.WithTransportCredentials(TransportCredentials(creds, capturers...)),
		creds:      creds,
		capturers:  capturers,
	}
}

type transportOption struct {
	grpc.DialOption
	creds     credentials.TransportCredentials
	capturers []func(FDSender)
}

// CaptureSender adds a capturer to those of the dialopts that WithTransportCredentials
// made; ok tells whether there was one.
func CaptureSender(capturer func(FDSender), dialopts ...grpc.DialOption) (opts []grpc.DialOption, ok bool) {
	for _, opt := range dialopts {
		if transport, is := opt.(*transportOption); is {
			ok = true
			opt = WithTransportCredentials(transport.creds, append(transport.capturers[:len(transport.capturers):len(transport.capturers)], capturer)...)
		}
		opts = append(opts, opt)
	}
	return opts, ok
}
