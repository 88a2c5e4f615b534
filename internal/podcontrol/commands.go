// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/nsm-afxdp/forwarder/internal/ping"
	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/internal/throughput"
)

// Sockets of the programs that connect pods.
const (
	ClientSocket   = "@nsm/nsc"
	EndpointSocket = "@nsm/nse"
)

// Commands are ping and iperf, by the program at socket.
func Commands(socket string) []service.Command {
	return []service.Command{pingCommand(socket), iperfCommand(socket)}
}

// errDone says that the command has printed why it is no success.
var errDone = service.ExitError(service.ExitFailure)

func pingCommand(socket string) service.Command {
	o := ping.Options{Count: 4, Size: 56, Interval: time.Second, Preload: 1, Timeout: 2 * time.Second}
	var quiet bool
	fragment := dont
	return service.Command{
		Use:   "ping ADDRESS",
		Short: "send echo requests through the pod's connections",
		About: `
The options are those of ping(8). The packets take the memif connection that leads to
the address, else the pod's kernel. It exits with 0 if there was a reply, with 1
if there was none, and with 2 for any other reason.`,
		Args: 1,
		Flags: func(flags *pflag.FlagSet) {
			flags.IntVarP(&o.Count, "count", "c", o.Count, "number of requests; 0 goes on until interrupted")
			flags.IntVarP(&o.Size, "size", "s", o.Size, "bytes of data in each, without headers")
			flags.VarP((*seconds)(&o.Interval), "interval", "i", "time between two, in seconds or as in 10ms; 0 sends the next when the last is answered")
			flags.IntVarP(&o.Preload, "preload", "l", o.Preload, "number of requests that are sent at once")
			flags.VarP((*seconds)(&o.Timeout), "timeout", "W", "how long to wait for the last replies")
			flags.VarP(&fragment, "mtu-discovery", "M", "do: fragment nothing, report what is too large; dont: fragment")
			flags.BoolVarP(&quiet, "quiet", "q", quiet, "print no line for each reply")
		},
		Run: func(ctx context.Context, args []string, out io.Writer) error {
			address, err := parseAddress(args[0])
			if err != nil {
				return err
			}
			o.DontFragment = fragment == do
			p := printer{out: out, request: Request{Address: address, Ping: &o}, quiet: quiet}
			if err := p.run(ctx, socket); err != nil {
				return err
			}
			if p.summary.Received == 0 {
				return errDone
			}
			return nil
		},
	}
}

func iperfCommand(socket string) service.Command {
	o := throughput.Options{Duration: 10 * time.Second, Streams: 1}
	var asJSON bool
	return service.Command{
		Use:   "iperf ADDRESS",
		Short: "measure throughput through the pod's connections",
		About: `
It sends to the DISCARD service (port 9) of the address, with -R it receives from its
CHARGEN service (port 19), as nse has them. The packets take the memif connection that leads to
the address, else the pod's kernel. By UDP the figure is what was sent. It exits with 1
if no byte moved, and with 2 for any other reason.`,
		Args: 1,
		Flags: func(flags *pflag.FlagSet) {
			flags.VarP((*seconds)(&o.Duration), "time", "t", "how long to measure, in seconds or as in 500ms")
			flags.BoolVarP(&o.UDP, "udp", "u", o.UDP, "use UDP")
			flags.BoolVarP(&o.Reverse, "reverse", "R", o.Reverse, "measure from the address to here")
			flags.IntVarP(&o.Streams, "parallel", "P", o.Streams, "number of streams")
			flags.BoolVarP(&asJSON, "json", "J", asJSON, "print nothing but the result, as JSON")
		},
		Run: func(ctx context.Context, args []string, out io.Writer) error {
			address, err := parseAddress(args[0])
			if err != nil {
				return err
			}
			p := printer{out: out, request: Request{Address: address, Throughput: &o}, json: asJSON}
			if err := p.run(ctx, socket); err != nil {
				return err
			}
			if p.result.Bytes == 0 {
				return errDone
			}
			return nil
		},
	}
}

// run asks, prints, and returns an error if no end has come.
func (p *printer) run(ctx context.Context, socket string) error {
	if err := p.request.Validate(); err != nil {
		return err
	}
	p.begin()
	if err := p.request.Run(ctx, socket, p.tell); err != nil {
		return err
	}
	if p.failure != "" {
		return errors.New(p.failure)
	}
	return nil
}

func parseAddress(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q: want an IPv4 or IPv6 address", text)
	}
	return address.Unmap(), nil
}

// seconds is a duration that is also written as a number of seconds.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if number, err := strconv.ParseFloat(text, 64); err == nil {
		if number < 0 || number > throughput.MaxDuration.Seconds() {
			return errors.New("want 0 to 24h")
		}
		*s = seconds(number * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) String() string { return time.Duration(*s).String() }

func (s *seconds) Type() string { return "seconds" }

// strategy is whether to fragment.
type strategy string

const (
	do   strategy = "do"
	dont strategy = "dont"
)

func (s *strategy) Set(text string) error {
	if strategy(text) != do && strategy(text) != dont {
		return errors.New("want do or dont")
	}
	*s = strategy(text)
	return nil
}

func (s *strategy) String() string { return string(*s) }

func (s *strategy) Type() string { return "do|dont" }
