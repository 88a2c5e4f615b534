// SPDX-License-Identifier: Apache-2.0

package grpcutils

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

const (
	unixScheme = "unix"
	tcpScheme  = "tcp"
)

// URLToTarget returns the gRPC target for u: host:port of a tcp URL, any other
// URL as it is. It is "" for nil.
func URLToTarget(u *url.URL) (target string) {
	if u == nil {
		return ""
	}
	if u.Scheme == tcpScheme {
		return u.Host
	}
	return u.String()
}

// AddressToURL returns the URL at which addr is reached; an unspecified IP
// becomes an empty host.
func AddressToURL(addr net.Addr) *url.URL {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return &url.URL{Scheme: tcp.Network(), Host: ":" + strconv.Itoa(tcp.Port)}
	}
	return NetworkAddressToURL(addr.Network(), addr.String())
}

// NetworkAddressToURL returns the URL of an address as package net names them.
func NetworkAddressToURL(network, address string) *url.URL {
	if network == unixScheme {
		return &url.URL{Scheme: network, Path: address}
	}
	return &url.URL{Scheme: network, Host: address}
}

// TargetToURL returns the URL of a gRPC target.
func TargetToURL(address string) *url.URL { return NetworkAddressToURL(TargetToNetAddr(address)) }

// TargetToNetAddr returns what package net calls the address of a gRPC target:
// ("unix", path) for unix:path, unix:/path and unix:///path, else ("tcp", target).
func TargetToNetAddr(target string) (network, addr string) {
	path, isUnix := strings.CutPrefix(target, unixScheme+":")
	if !isUnix {
		return tcpScheme, target
	}
	if authority, ok := strings.CutPrefix(path, "//"); ok {
		if slash := strings.IndexByte(authority, '/'); slash >= 0 {
			return unixScheme, authority[slash:]
		}
		return unixScheme, authority
	}
	return unixScheme, path
}
