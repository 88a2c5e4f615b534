// SPDX-License-Identifier: Apache-2.0

package ping

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Layout of ICMP messages (RFC 792, RFC 4443).
const (
	icmpHeader = 8
	ipv6Header = 40

	echoReply4, echoRequest4           = 0, 8
	echoReply6, echoRequest6           = 129, 128
	unreachable4, tooBig4Code          = 3, 4
	unreachable6, tooBig6, timeExceed6 = 1, 2, 3
	timeExceed4                        = 11
)

// HeaderSize is what an echo request adds to its data, down to the IP header.
func HeaderSize(dst netip.Addr) int {
	if dst.Is4() {
		return 20 + icmpHeader
	}
	return ipv6Header + icmpHeader
}

// TooLongError says that a packet is larger than the path takes, and was not sent
// or did not arrive.
type TooLongError struct {
	// MTU is the largest size that goes, with the IP header; 0 if it is not known.
	MTU int
}

func (e *TooLongError) Error() string { return fmt.Sprintf("message too long, mtu=%d", e.MTU) }

// UnreachableError is another answer than a reply: the packet did not get there.
type UnreachableError struct{ Reason string }

func (e *UnreachableError) Error() string { return e.Reason }

// AppendRequest appends an echo request to b, with a checksum of zero.
func AppendRequest(b []byte, is6 bool, id, sequence uint16, data []byte) []byte {
	kind := byte(echoRequest4)
	if is6 {
		kind = echoRequest6
	}
	b = append(b, kind, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, sequence)
	return append(b, data...)
}

// SetChecksum fills in the checksum of an ICMP message for IPv4, which has no part in an IP
// header.
func SetChecksum(message []byte) {
	var sum uint32
	for i := 0; i+1 < len(message); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(message[i:]))
	}
	if len(message)%2 == 1 {
		sum += uint32(message[len(message)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum))
}

// ParseAnswer reads an ICMP message, without the IP header, that may answer an echo
// request: a reply, or an error about the request. From and TTL are left to the caller. It returns false
// for anything else.
func ParseAnswer(message []byte, is6 bool) (answer Answer, id uint16, ok bool) {
	if len(message) < icmpHeader {
		return Answer{}, 0, false
	}
	kind, code, echo := message[0], message[1], message
	reply := byte(echoReply4)
	if is6 {
		reply = echoReply6
	}
	if kind != reply {
		if echo, ok = quoted(message[icmpHeader:], is6); !ok {
			return Answer{}, 0, false
		}
		if answer.Err = problem(kind, code, message, is6); answer.Err == nil {
			return Answer{}, 0, false
		}
	}
	answer.Size = len(message)
	answer.Sequence = binary.BigEndian.Uint16(echo[6:])
	return answer, binary.BigEndian.Uint16(echo[4:]), true
}

// quoted finds the echo request in the packet that an error quotes.
func quoted(packet []byte, is6 bool) (echo []byte, ok bool) {
	if is6 {
		// A fragment header would be in the way of the first fragment only.
		if len(packet) < ipv6Header+icmpHeader || packet[0]>>4 != 6 || packet[6] != protocolICMPv6 {
			return nil, false
		}
		echo = packet[ipv6Header:]
		return echo, echo[0] == echoRequest6
	}
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != protocolICMP {
		return nil, false
	}
	header := int(packet[0]&0xf) * 4
	if header < 20 || len(packet) < header+icmpHeader {
		return nil, false
	}
	echo = packet[header:]
	return echo, echo[0] == echoRequest4
}

// problem is what an error message says; nil if it is none.
func problem(kind, code byte, message []byte, is6 bool) error {
	switch {
	case !is6 && kind == unreachable4 && code == tooBig4Code:
		return &TooLongError{MTU: int(binary.BigEndian.Uint16(message[6:]))} // RFC 1191, section 4
	case is6 && kind == tooBig6:
		return &TooLongError{MTU: int(binary.BigEndian.Uint32(message[4:]) & (1<<31 - 1))}
	case !is6 && kind == unreachable4, is6 && kind == unreachable6:
		return &UnreachableError{Reason: fmt.Sprintf("destination unreachable, code %d", code)}
	case !is6 && kind == timeExceed4, is6 && kind == timeExceed6:
		return &UnreachableError{Reason: "time to live exceeded"}
	}
	return nil
}
