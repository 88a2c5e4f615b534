// SPDX-License-Identifier: Apache-2.0

// Package matchutils decides which network services and endpoints a registry
// query asks for, and which endpoints a network service admits for a client.
package matchutils

import (
	"strings"
	"text/template"

	"google.golang.org/protobuf/proto"

	"github.com/networkservicemesh/api/pkg/api/registry"
)

// MatchEndpoint returns those of nses that ns admits for a client with the
// labels nsLabels. The first of the service's matches whose source selector
// fits decides, unless it is a fallthrough one that admits nobody. A service
// without matches admits everybody; so does a match that carries metadata and
// no routes (it is about forwarders only).
func MatchEndpoint(nsLabels map[string]string, ns *registry.NetworkService, nses ...*registry.NetworkServiceEndpoint) []*registry.NetworkServiceEndpoint {
	if len(ns.GetMatches()) == 0 {
		return nses
	}
	for _, match := range ns.GetMatches() {
		if !IsSubset(nsLabels, match.GetSourceSelector(), nsLabels) {
			continue
		}
		if match.GetMetadata() != nil && len(match.GetRoutes()) == 0 && !match.GetFallthrough() {
			return nses
		}
		admitted := admittedBy(match, nsLabels, ns.GetName(), nses)
		if len(admitted) == 0 && match.GetFallthrough() {
			continue
		}
		return admitted
	}
	return nil
}

func admittedBy(match *registry.Match, nsLabels map[string]string, service string, nses []*registry.NetworkServiceEndpoint) []*registry.NetworkServiceEndpoint {
	var admitted []*registry.NetworkServiceEndpoint
	for _, route := range match.GetRoutes() {
		for _, nse := range nses {
			labels := nse.GetNetworkServiceLabels()[service].GetLabels()
			if IsSubset(labels, route.GetDestinationSelector(), nsLabels) {
				admitted = append(admitted, nse)
			}
		}
	}
	return admitted
}

// MatchNetworkServices says whether right is what the query left asks for. An
// empty field of left asks for anything.
func MatchNetworkServices(left, right *registry.NetworkService) bool {
	if left.GetName() != "" && left.GetName() != right.GetName() ||
		left.GetPayload() != "" && left.GetPayload() != right.GetPayload() {
		return false
	}
	if left.GetMatches() == nil {
		return true
	}
	if len(left.GetMatches()) != len(right.GetMatches()) {
		return false
	}
	for i, match := range left.GetMatches() {
		if !proto.Equal(match, right.GetMatches()[i]) {
			return false
		}
	}
	return true
}

// MatchNetworkServiceEndpoints says whether right is what the query left asks
// for. An empty field of left asks for anything; else the name must be equal,
// the service names and labels contained, the expiration time equal to the
// second, and the URL a substring.
func MatchNetworkServiceEndpoints(left, right *registry.NetworkServiceEndpoint) bool {
	if left.GetName() != "" && left.GetName() != right.GetName() ||
		!strings.Contains(right.GetUrl(), left.GetUrl()) ||
		left.GetExpirationTime() != nil && left.GetExpirationTime().GetSeconds() != right.GetExpirationTime().GetSeconds() {
		return false
	}
	return containsNames(right.GetNetworkServiceNames(), left.GetNetworkServiceNames()) &&
		containsLabels(right.GetNetworkServiceLabels(), left.GetNetworkServiceLabels())
}

// IsSubset says whether every label in b is in a with the same value. A value
// in b may be a Go template, which is executed with values: {{ .nodeName }}
// stands for values["nodeName"].
func IsSubset(a, b, values map[string]string) bool {
	for key, want := range b {
		got, ok := a[key]
		if !ok || got != want && got != expand(want, values) {
			return false
		}
	}
	return true
}

// expand returns text as it is if that is no valid template.
func expand(text string, values map[string]string) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	parsed, err := template.New("label").Parse(text)
	if err != nil {
		return text
	}
	var out strings.Builder
	if err := parsed.Execute(&out, values); err != nil {
		return text
	}
	return out.String()
}

func containsNames(all, wanted []string) bool {
	known := make(map[string]bool, len(all))
	for _, name := range all {
		known[name] = true
	}
	for _, name := range wanted {
		if !known[name] {
			return false
		}
	}
	return true
}

func containsLabels(all, wanted map[string]*registry.NetworkServiceLabels) bool {
	for service, labels := range wanted {
		known, ok := all[service]
		if !ok {
			return false
		}
		for key, value := range labels.GetLabels() {
			if got, ok := known.GetLabels()[key]; !ok || got != value {
				return false
			}
		}
	}
	return true
}
