// SPDX-License-Identifier: Apache-2.0

// Package clienturlctx carries the URL of the next hop in the context.
package clienturlctx

import (
	"context"
	"net/url"
)

// UnixURLScheme is the scheme of URLs of unix sockets.
const UnixURLScheme = "unix"

type (
	urlKey  struct{}
	urlsKey struct{}
)

// WithClientURL returns a context in which clientURL is the next hop.
func WithClientURL(parent context.Context, clientURL *url.URL) context.Context {
	return context.WithValue(parent, urlKey{}, clientURL)
}

// ClientURL returns a copy of the next hop's URL, or nil if none is known.
func ClientURL(ctx context.Context) *url.URL {
	u, ok := ctx.Value(urlKey{}).(*url.URL)
	if !ok || u == nil {
		return nil
	}
	c := *u
	return &c
}

// WithClientURLs returns a context with the URLs of all hops that may be next.
func WithClientURLs(parent context.Context, urls []url.URL) context.Context {
	return context.WithValue(parent, urlsKey{}, urls)
}

// ClientURLs returns what WithClientURLs put into ctx, or nil.
func ClientURLs(ctx context.Context) []url.URL {
	urls, _ := ctx.Value(urlsKey{}).([]url.URL)
	return urls
}
