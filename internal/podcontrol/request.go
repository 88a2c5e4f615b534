// SPDX-License-Identifier: Apache-2.0

// Package podcontrol lets commands in a pod use the IP stacks of the program that
// connects the pod: `nsc ping ADDRESS` asks the running nsc by its control socket, an abstract
// unix socket in the pod's network namespace, and uses the kernel where no memif
// connection leads to the address.
//
// A caller sends one Request as a line of JSON and gets Responses, a line each, until
// the end of the stream. It ends the work by closing the socket. Callers must be of the same
// user as the program, or root.
package podcontrol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/nsm-afxdp/forwarder/internal/ping"
	"github.com/nsm-afxdp/forwarder/internal/throughput"
)

// Request is what to do with an address: exactly one of Ping and Throughput.
type Request struct {
	Address    netip.Addr          `json:"address"`
	Ping       *ping.Options       `json:"ping,omitempty"`
	Throughput *throughput.Options `json:"throughput,omitempty"`
}

// Response is a piece of news: exactly one of its fields is set.
type Response struct {
	// Elsewhere says that no stack of the program leads to the address; it is the only
	// Response then.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// Error is why there is no Summary or Result; it is the last Response.
	Error string `json:"error,omitempty"`

	Event   *ping.Event   `json:"event,omitempty"`
	Summary *ping.Summary `json:"summary,omitempty"`

	Interval *throughput.Interval `json:"interval,omitempty"`
	Result   *throughput.Result   `json:"result,omitempty"`
}

// maxRequest is the size of the longest line that is read as a request.
const maxRequest = 4096

// parseRequest reads a line.
func parseRequest(line []byte) (Request, error) {
	var r Request
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return Request{}, fmt.Errorf("request: %w", err)
	}
	if decoder.More() {
		return Request{}, errors.New("request: more than one")
	}
	return r, r.Validate()
}

// Validate checks what may have come from anywhere.
func (r *Request) Validate() error {
	switch {
	case !r.Address.IsValid() || r.Address.IsUnspecified() || r.Address.IsMulticast():
		return errors.New("request: want the address of a host")
	case (r.Ping == nil) == (r.Throughput == nil):
		return errors.New("request: want a ping or a throughput")
	case r.Ping != nil:
		return r.Ping.Validate()
	}
	return r.Throughput.Validate()
}

// network is a way to an address.
type network struct {
	echo func(src, dst netip.Addr, dontFragment bool) (ping.Conn, error)
	dial throughput.Dial
}

// kernel is the way of the process's own sockets.
var kernel = network{echo: ping.Open, dial: new(net.Dialer).DialContext}

// run does what is asked for, until ctx ends at the latest.
func (r *Request) run(ctx context.Context, way network, tell func(Response)) {
	if r.Throughput != nil {
		result, err := throughput.Measure(ctx, way.dial, r.Address, *r.Throughput, func(i throughput.Interval) { tell(Response{Interval: &i}) })
		if err != nil {
			tell(Response{Error: err.Error()})
			return
		}
		tell(Response{Result: &result})
		return
	}
	conn, err := way.echo(netip.Addr{}, r.Address, r.Ping.DontFragment)
	if err != nil {
		tell(Response{Error: err.Error()})
		return
	}
	summary := ping.Session(ctx, conn, *r.Ping, func(e ping.Event) { tell(Response{Event: &e}) })
	tell(Response{Summary: &summary})
}

// Run does what r asks for, by the program that listens at socket if one does and has a
// memif connection that leads to the address, else by the kernel. Tell gets the news;
// the last is a Summary, a Result or an Error. An error says that it broke off.
func (r *Request) Run(ctx context.Context, socket string, tell func(Response)) error {
	if err := r.Validate(); err != nil {
		return err
	}
	served, err := r.ask(ctx, socket, tell)
	if served || err != nil {
		return err
	}
	r.run(ctx, kernel, tell)
	return nil
}

// ask returns false when nobody serves the request at socket.
func (r *Request) ask(ctx context.Context, socket string, tell func(Response)) (served bool, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return false, nil //nolint:nilerr // nobody is there
	}
	defer func() { _ = conn.Close() }()
	// The end is told by closing one direction: the summary still comes.
	defer context.AfterFunc(ctx, func() { _ = conn.(*net.UnixConn).CloseWrite() })()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return false, nil //nolint:nilerr // nobody listens any more
	}
	last := false
	for decoder := json.NewDecoder(conn); ; {
		var response Response
		switch err := decoder.Decode(&response); {
		case errors.Is(err, io.EOF) && last:
			return true, nil
		case err != nil:
			return true, fmt.Errorf("the program at %s has ended: %w", socket, err)
		case response.Elsewhere:
			return false, nil
		}
		last = response.Error != "" || response.Summary != nil || response.Result != nil
		tell(response)
	}
}
