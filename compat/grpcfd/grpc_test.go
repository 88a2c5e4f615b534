// SPDX-License-Identifier: Apache-2.0

package grpcfd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edwarnicke/grpcfd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// The health service carries a string each way in its Check, which is all that is
// needed here: URLs separated by blanks.
type fileService struct {
	grpc_health_v1.UnimplementedHealthServer
	check func(ctx context.Context, urls []string) error
}

func (s *fileService) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{}, s.check(ctx, strings.Fields(r.GetService()))
}

func mutualTLS(t *testing.T) (server, client credentials.TransportCredentials) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "both ends"}, DNSNames: []string{"peer"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	chain := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return credentials.NewTLS(&tls.Config{Certificates: chain, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}),
		credentials.NewTLS(&tls.Config{Certificates: chain, RootCAs: pool, ServerName: "peer", MinVersion: tls.VersionTLS12})
}

// serve starts the service on a unix socket and returns a function that makes a
// connection to it.
func serve(t *testing.T, service *fileService, server, client credentials.TransportCredentials) func() *grpc.ClientConn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(grpcfd.TransportCredentials(server)))
	grpc_health_v1.RegisterHealthServer(s, service)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(listener) })
	t.Cleanup(func() { s.Stop(); wg.Wait() })
	return func() *grpc.ClientConn {
		cc, err := grpc.NewClient("unix:"+socket, grpcfd.WithTransportCredentials(client),
			grpcfd.WithChainUnaryInterceptor(), grpcfd.WithChainStreamInterceptor())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cc.Close() })
		return cc
	}
}

func call(t *testing.T, cc *grpc.ClientConn, urls []string, creds credentials.PerRPCCredentials) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(cc).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: strings.Join(urls, " ")}, grpc.PerRPCCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, n int) (names, urls []string) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := grpcfd.FilenameToURL(name)
		if err != nil {
			t.Fatal(err)
		}
		names, urls = append(names, name), append(urls, u.String())
	}
	return names, urls
}

func receive(ctx context.Context, from grpcfd.FDRecver, url string) (*os.File, error) {
	arriving, err := from.RecvFileByURL(url)
	if err != nil {
		return nil, err
	}
	select {
	case file, ok := <-arriving:
		if !ok {
			return nil, fmt.Errorf("%s: the connection ended", url)
		}
		return file, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", url, ctx.Err())
	}
}

// contents reads a file that was passed as O_PATH, which is opened again by its name.
func contents(file *os.File) (string, error) {
	defer func() { _ = file.Close() }()
	data, err := os.ReadFile(file.Name())
	return string(data), err
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10s: " + what)
		}
	}
}

func transports(t *testing.T) map[string]func() (server, client credentials.TransportCredentials) {
	return map[string]func() (server, client credentials.TransportCredentials){
		"mutual TLS": func() (server, client credentials.TransportCredentials) { return mutualTLS(t) },
		"plain text": func() (server, client credentials.TransportCredentials) {
			return insecure.NewCredentials(), insecure.NewCredentials()
		},
	}
}

func TestFilesTravelBothWays(t *testing.T) {
	for name, credentialsOf := range transports(t) {
		t.Run(name, func(t *testing.T) {
			back, backURLs := files(t, 1)
			server, client := credentialsOf()
			var got atomic.Value
			connect := serve(t, &fileService{check: func(ctx context.Context, urls []string) error {
				transceiver, ok := grpcfd.FromContext(ctx)
				if !ok {
					return fmt.Errorf("the peer takes no descriptors")
				}
				file, err := receive(ctx, transceiver, urls[0])
				if err != nil {
					return err
				}
				text, err := contents(file)
				if err != nil {
					return err
				}
				got.Store(text)
				transceiver.SendFilename(back[0])
				return nil
			}}, server, client)

			there, thereURLs := files(t, 1)
			creds := grpcfd.PerRPCCredentials(nil)
			transceiver, ok := grpcfd.FromPerRPCCredentials(creds)
			if !ok {
				t.Fatal("the credentials take no descriptors")
			}
			sent := transceiver.SendFilename(there[0])
			arriving, err := transceiver.RecvFileByURL(backURLs[0])
			if err != nil {
				t.Fatal(err)
			}
			call(t, connect(), thereURLs, creds)
			if err, failed := <-sent; failed {
				t.Fatal(err)
			}
			if got.Load() != there[0] {
				t.Fatalf("the server read %q, want %q", got.Load(), there[0])
			}
			select {
			case file := <-arriving:
				if text, err := contents(file); err != nil || text != back[0] {
					t.Fatalf("the client read %q, %v; want %q", text, err, back[0])
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the server's file did not arrive")
			}
		})
	}
}

func TestHundredsOfFilesInOneCall(t *testing.T) {
	const n = 300
	for name, credentialsOf := range transports(t) {
		t.Run(name, func(t *testing.T) {
			server, client := credentialsOf()
			var received atomic.Int32
			connect := serve(t, &fileService{check: func(ctx context.Context, urls []string) error {
				transceiver, _ := grpcfd.FromContext(ctx)
				for _, url := range urls {
					file, err := receive(ctx, transceiver, url)
					if err != nil {
						return err
					}
					if _, err = contents(file); err != nil {
						return err
					}
					received.Add(1)
				}
				return nil
			}}, server, client)
			names, urls := files(t, n)
			creds := grpcfd.PerRPCCredentials(nil)
			sender := creds.(grpcfd.FDSender)
			for _, name := range names {
				sender.SendFilename(name)
			}
			cc := connect()
			// 64 leave with each write of the connection: other calls provide them.
			var others sync.WaitGroup
			stop := make(chan struct{})
			others.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = grpc_health_v1.NewHealthClient(cc).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
					}
				}
			})
			call(t, cc, urls, creds)
			close(stop)
			others.Wait()
			if received.Load() != n {
				t.Fatalf("the server received %d files, want %d", received.Load(), n)
			}
		})
	}
}

func TestAUnixSocketAndANetworkNamespaceCanBePassed(t *testing.T) {
	server, client := mutualTLS(t)
	connect := serve(t, &fileService{check: func(ctx context.Context, urls []string) error {
		transceiver, _ := grpcfd.FromContext(ctx)
		socket, err := receive(ctx, transceiver, urls[0])
		if err != nil {
			return err
		}
		defer func() { _ = socket.Close() }()
		// What the forwarder does to reach an endpoint on its node.
		conn, err := net.Dial("unix", socket.Name())
		if err != nil {
			return err
		}
		_ = conn.Close()
		namespace, err := receive(ctx, transceiver, urls[1])
		if err != nil {
			return err
		}
		_ = namespace.Close()
		return nil
	}}, server, client)

	path := filepath.Join(t.TempDir(), "endpoint")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	creds := grpcfd.PerRPCCredentials(nil)
	var urls []string
	for _, name := range []string{path, "/proc/thread-self/ns/net"} {
		u, err := grpcfd.FilenameToURL(name)
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, u.String())
		creds.(grpcfd.FDSender).SendFilename(name)
	}
	call(t, connect(), urls, creds)
}

func TestNoDescriptorOutlivesItsConnection(t *testing.T) {
	server, client := mutualTLS(t)
	connect := serve(t, &fileService{check: func(ctx context.Context, urls []string) error {
		transceiver, _ := grpcfd.FromContext(ctx)
		for _, url := range urls {
			file, err := receive(ctx, transceiver, url)
			if err != nil {
				return err
			}
			_ = file.Close()
		}
		return nil
	}}, server, client)
	names, urls := files(t, 20)
	before := descriptors(t)

	cc := connect()
	var one int
	for i := range 30 {
		creds := grpcfd.PerRPCCredentials(nil)
		for _, name := range names {
			creds.(grpcfd.FDSender).SendFilename(name)
		}
		call(t, cc, urls, creds)
		if i == 0 {
			one = descriptors(t)
		}
	}
	eventually(t, "calls after the first leave no descriptors behind", func() bool { return descriptors(t) <= one })
	if err := cc.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all descriptors are closed with the connection", func() bool { return descriptors(t) <= before })
}

func TestOverTCPThereIsNoTransceiverAndCallsWork(t *testing.T) {
	server, client := mutualTLS(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(grpcfd.TransportCredentials(server)))
	grpc_health_v1.RegisterHealthServer(s, &fileService{check: func(ctx context.Context, _ []string) error {
		if _, ok := grpcfd.FromContext(ctx); ok {
			return fmt.Errorf("there is a transceiver")
		}
		return nil
	}})
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(listener) })
	defer wg.Wait()
	defer s.Stop()
	cc, err := grpc.NewClient(listener.Addr().String(), grpcfd.WithTransportCredentials(client))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	call(t, cc, nil, grpcfd.PerRPCCredentials(nil))
}

type metadataCreds map[string]string

func (m metadataCreds) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return m, nil
}
func (m metadataCreds) RequireTransportSecurity() bool { return false }

func TestSeveralCredentialsOfOneCallAllApply(t *testing.T) {
	server, client := mutualTLS(t)
	names, urls := files(t, 1)
	connect := serve(t, &fileService{check: func(ctx context.Context, urls []string) error {
		transceiver, _ := grpcfd.FromContext(ctx)
		file, err := receive(ctx, transceiver, urls[0])
		if err != nil {
			return err
		}
		return file.Close()
	}}, server, client)
	creds := grpcfd.PerRPCCredentials(nil)
	creds.(grpcfd.FDSender).SendFilename(names[0])
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// gRPC alone would use the last credentials, and the file would never leave.
	_, err := grpc_health_v1.NewHealthClient(connect()).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: urls[0]},
		grpc.PerRPCCredentials(creds), grpc.PerRPCCredentials(metadataCreds{"a": "b"}))
	if err != nil {
		t.Fatal(err)
	}
}

func TestCallOptionsYieldTheirLastCredentials(t *testing.T) {
	if creds := grpcfd.PerRPCCredentialsFromCallOptions(grpc.WaitForReady(true)); creds != nil {
		t.Fatalf("credentials without any: %v", creds)
	}
	last := grpcfd.PerRPCCredentials(metadataCreds{"last": "1"})
	got := grpcfd.PerRPCCredentialsFromCallOptions(grpc.PerRPCCredentials(metadataCreds{}), grpc.PerRPCCredentials(last), grpc.WaitForReady(true))
	if got != last {
		t.Fatalf("got %v, want the last", got)
	}
	if grpcfd.PerRPCCredentials(last) != last {
		t.Fatal("credentials were wrapped twice")
	}
	if _, ok := grpcfd.FromPerRPCCredentials(metadataCreds{}); ok {
		t.Fatal("plain credentials passed for a transceiver")
	}
}

func TestCapturersSeeTheSenderOfEachConnection(t *testing.T) {
	server, client := mutualTLS(t)
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(grpcfd.TransportCredentials(server)))
	grpc_health_v1.RegisterHealthServer(s, &fileService{check: func(context.Context, []string) error { return nil }})
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(listener) })
	defer wg.Wait()
	defer s.Stop()

	if _, ok := grpcfd.CaptureSender(func(grpcfd.FDSender) {}, grpc.WithTransportCredentials(client)); ok {
		t.Fatal("CaptureSender claims to capture where it cannot")
	}
	captured := make(chan grpcfd.FDSender, 4)
	opts, ok := grpcfd.CaptureSender(func(sender grpcfd.FDSender) { captured <- sender }, grpcfd.WithTransportCredentials(client))
	if !ok {
		t.Fatal("CaptureSender found no credentials to capture from")
	}
	cc, err := grpc.NewClient("unix:"+socket, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	call(t, cc, nil, grpcfd.PerRPCCredentials(nil))
	select {
	case sender := <-captured:
		if sender == nil {
			t.Fatal("captured nil")
		}
	default:
		t.Fatal("the call is over and nothing was captured")
	}
}

func TestPassedContentsAreReadable(t *testing.T) {
	server, client := mutualTLS(t)
	var got atomic.Value
	connect := serve(t, &fileService{check: func(ctx context.Context, urls []string) error {
		transceiver, _ := grpcfd.FromContext(ctx)
		file, err := receive(ctx, transceiver, urls[0])
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		data, err := io.ReadAll(file)
		got.Store(string(data))
		return err
	}}, server, client)
	names, urls := files(t, 1)
	file, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	creds := grpcfd.PerRPCCredentials(nil)
	creds.(grpcfd.FDSender).SendFile(file)
	// The sender has its own duplicate from the moment it was asked.
	_ = file.Close()
	call(t, connect(), urls, creds)
	if got.Load() != names[0] {
		t.Fatalf("read %q, want %q", got.Load(), names[0])
	}
}
