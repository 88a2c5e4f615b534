// SPDX-License-Identifier: Apache-2.0

// Package mechanisms chooses the element that serves a connection by the
// connection's mechanism, and agrees on one when there is none yet.
package mechanisms

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
)

var errUnsupported = errors.New("mechanism is not supported")

// unsupported is the error for a mechanism that a connection has already.
func unsupported[E any](mechanism *networkservice.Mechanism, known map[string]E) error {
	return fmt.Errorf("%w: the connection has %s, supported here: %s", errUnsupported, mechanism.GetType(), list(known))
}

// attempts collects why no preference could be served.
type attempts struct{ errs []error }

func (a *attempts) failed(mechanism *networkservice.Mechanism, err error) {
	a.errs = append(a.errs, fmt.Errorf("%s: %w", mechanism.GetType(), err))
}

func (a *attempts) err(request *networkservice.NetworkServiceRequest, supported string) error {
	if len(a.errs) > 0 {
		return fmt.Errorf("no mechanism could be set up: %w", errors.Join(a.errs...))
	}
	var offered []string
	for _, mechanism := range request.GetMechanismPreferences() {
		offered = append(offered, mechanism.GetType())
	}
	if len(offered) == 0 {
		offered = []string{"nothing"}
	}
	return fmt.Errorf("%w: offered %s, supported here: %s", errUnsupported, strings.Join(offered, ", "), supported)
}

func list[E any](known map[string]E) string {
	if len(known) == 0 {
		return "nothing"
	}
	return strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// The metrics that name a side's interface.
const (
	clientInterface = "client_interface"
	serverInterface = "server_interface"
)

// noteInterface puts the interface, as TYPE/name, into the metrics of this
// hop's path segment, once.
func noteInterface(conn *networkservice.Connection, mechanism *networkservice.Mechanism, metric string) {
	segment := conn.GetCurrentPathSegment()
	if segment == nil || segment.GetMetrics()[metric] != "" {
		return
	}
	name := mechanism.GetParameters()[common.InterfaceNameKey]
	if mechanism.GetParameters() == nil {
		name = "unknown"
	}
	if segment.Metrics == nil {
		segment.Metrics = make(map[string]string)
	}
	segment.Metrics[metric] = mechanism.GetType() + "/" + name
}
