// SPDX-License-Identifier: Apache-2.0

// Package listenonurl turns the URL that a server listens on into the one that
// other nodes can dial.
package listenonurl

import (
	"net"
	"net/url"
)

// GetPublicURL puts an address of this host into defaultURL if that has a port
// but no host, as in tcp://:5001. The first IPv4 address in addrs that is not
// loopback is taken, else the first global IPv6 address. If there is none, or
// defaultURL names a host, defaultURL is returned as it is.
func GetPublicURL(addrs []net.Addr, defaultURL *url.URL) *url.URL {
	if defaultURL.Port() == "" || defaultURL.Host != ":"+defaultURL.Port() {
		return defaultURL
	}
	var public net.IP
	for _, addr := range addrs {
		ipNet, ok := addr.(*net.IPNet)
		if !ok || ipNet.IP.IsLoopback() {
			continue
		}
		if ipNet.IP.To4() != nil {
			public = ipNet.IP
			break
		}
		if public == nil && ipNet.IP.IsGlobalUnicast() {
			public = ipNet.IP
		}
	}
	if public == nil {
		return defaultURL
	}
	return &url.URL{Scheme: "tcp", Host: net.JoinHostPort(public.String(), defaultURL.Port())}
}
