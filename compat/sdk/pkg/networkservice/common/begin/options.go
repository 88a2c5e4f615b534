// SPDX-License-Identifier: Apache-2.0

package begin

import "context"

type option struct {
	cancelCtx context.Context
	reselect  bool
}

// Option changes what an EventFactory does.
type Option func(*option)

// CancelContext drops the event if cancelCtx ends before it starts. It does not
// stop one that has started.
func CancelContext(cancelCtx context.Context) Option {
	return func(o *option) { o.cancelCtx = cancelCtx }
}

// WithReselect closes the connection first and then requests it again through
// the ReselectFunc.
func WithReselect() Option {
	return func(o *option) { o.reselect = true }
}

type clientOption struct{ reselect ReselectFunc }

// ClientOption configures NewClient.
type ClientOption func(*clientOption)

// WithReselectFunc sets what WithReselect does to the request:
// DefaultReselectFunc unless set.
func WithReselectFunc(reselectFunc ReselectFunc) ClientOption {
	return func(o *clientOption) { o.reselect = reselectFunc }
}
