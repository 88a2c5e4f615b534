// SPDX-License-Identifier: Apache-2.0

package matchutils_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/tools/matchutils"
)

type labels = map[string]string

func nse(name string, l labels) *registry.NetworkServiceEndpoint {
	return &registry.NetworkServiceEndpoint{
		Name:                 name,
		NetworkServiceNames:  []string{"ns"},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{"ns": {Labels: l}},
	}
}

func to(selectors ...labels) []*registry.Destination {
	var routes []*registry.Destination
	for _, s := range selectors {
		routes = append(routes, &registry.Destination{DestinationSelector: s})
	}
	return routes
}

func TestMatchEndpoint(t *testing.T) {
	all := []*registry.NetworkServiceEndpoint{
		nse("firewall", labels{"app": "firewall", "nodeName": "a"}),
		nse("gateway", labels{"app": "gateway", "nodeName": "b"}),
		nse("bare", nil),
	}
	for _, c := range []struct {
		name    string
		client  labels
		matches []*registry.Match
		want    []string
	}{
		{"no matches admit everybody", nil, nil, []string{"firewall", "gateway", "bare"}},
		{"destination selector", nil, []*registry.Match{{Routes: to(labels{"app": "gateway"})}}, []string{"gateway"}},
		{"the first match that fits decides", labels{"app": "firewall"}, []*registry.Match{
			{SourceSelector: labels{"app": "firewall"}, Routes: to(labels{"app": "gateway"})},
			{Routes: to(labels{"app": "firewall"})},
		}, []string{"gateway"}},
		{"source selector that does not fit is passed over", labels{"app": "x"}, []*registry.Match{
			{SourceSelector: labels{"app": "firewall"}, Routes: to(labels{"app": "gateway"})},
			{Routes: to(labels{"app": "firewall"})},
		}, []string{"firewall"}},
		{"no match fits", labels{}, []*registry.Match{
			{SourceSelector: labels{"app": "firewall"}, Routes: to(labels{"app": "gateway"})},
		}, nil},
		{"nobody admitted ends the search", nil, []*registry.Match{
			{Routes: to(labels{"app": "vpn"})}, {Routes: to(labels{})},
		}, nil},
		{"fallthrough goes on when nobody is admitted", nil, []*registry.Match{
			{Fallthrough: true, Routes: to(labels{"app": "vpn"})}, {Routes: to(labels{"app": "gateway"})},
		}, []string{"gateway"}},
		{"fallthrough stops when somebody is admitted", nil, []*registry.Match{
			{Fallthrough: true, Routes: to(labels{"app": "firewall"})}, {Routes: to(labels{"app": "gateway"})},
		}, []string{"firewall"}},
		{"template of the client's labels", labels{"nodeName": "b"}, []*registry.Match{
			{Routes: to(labels{"nodeName": "{{ .nodeName }}"})},
		}, []string{"gateway"}},
		{"template without a value admits nobody", nil, []*registry.Match{
			{Routes: to(labels{"nodeName": "{{ .nodeName }}"})},
		}, nil},
		{"broken template is compared as text", nil, []*registry.Match{
			{Routes: to(labels{"nodeName": "{{ .nodeName"})},
		}, nil},
		{"empty selector admits everybody", nil, []*registry.Match{{Routes: to(nil)}}, []string{"firewall", "gateway", "bare"}},
		{"metadata without routes is about forwarders only", nil, []*registry.Match{
			{Metadata: &registry.Metadata{Labels: labels{"p2p": "true"}}},
		}, []string{"firewall", "gateway", "bare"}},
		{"several routes in order", nil, []*registry.Match{
			{Routes: to(labels{"app": "gateway"}, labels{"app": "firewall"})},
		}, []string{"gateway", "firewall"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, e := range matchutils.MatchEndpoint(c.client, &registry.NetworkService{Name: "ns", Matches: c.matches}, all...) {
				got = append(got, e.GetName())
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestMatchNetworkServiceEndpoints(t *testing.T) {
	have := nse("nse-1", labels{"app": "firewall", "zone": "z"})
	have.Url = "tcp://10.0.0.1:5001"
	have.ExpirationTime = &timestamppb.Timestamp{Seconds: 100, Nanos: 7}
	for name, c := range map[string]struct {
		query *registry.NetworkServiceEndpoint
		want  bool
	}{
		"nothing asked":        {&registry.NetworkServiceEndpoint{}, true},
		"name":                 {&registry.NetworkServiceEndpoint{Name: "nse-1"}, true},
		"name is exact":        {&registry.NetworkServiceEndpoint{Name: "nse"}, false},
		"url":                  {&registry.NetworkServiceEndpoint{Url: "tcp://10.0.0.1:5001"}, true},
		"url is a substring":   {&registry.NetworkServiceEndpoint{Url: "10.0.0.1"}, true},
		"other url":            {&registry.NetworkServiceEndpoint{Url: "tcp://10.0.0.2"}, false},
		"service":              {&registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"ns"}}, true},
		"one service too many": {&registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"ns", "x"}}, false},
		"labels subset":        {nse("", labels{"zone": "z"}), true},
		"labels differ":        {nse("", labels{"zone": "y"}), false},
		"labels of another service": {&registry.NetworkServiceEndpoint{
			NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{"x": {}}}, false},
		"expiration by seconds": {&registry.NetworkServiceEndpoint{ExpirationTime: &timestamppb.Timestamp{Seconds: 100}}, true},
		"other expiration":      {&registry.NetworkServiceEndpoint{ExpirationTime: &timestamppb.Timestamp{Seconds: 101}}, false},
	} {
		require.Equal(t, c.want, matchutils.MatchNetworkServiceEndpoints(c.query, have), name)
	}
}

func TestMatchNetworkServices(t *testing.T) {
	have := &registry.NetworkService{Name: "ns", Payload: "IP", Matches: []*registry.Match{{Routes: to(labels{"a": "b"})}}}
	for name, c := range map[string]struct {
		query *registry.NetworkService
		want  bool
	}{
		"nothing asked": {&registry.NetworkService{}, true},
		"name":          {&registry.NetworkService{Name: "ns"}, true},
		"other name":    {&registry.NetworkService{Name: "n"}, false},
		"payload":       {&registry.NetworkService{Name: "ns", Payload: "IP"}, true},
		"other payload": {&registry.NetworkService{Name: "ns", Payload: "ETHERNET"}, false},
		"matches":       {&registry.NetworkService{Matches: []*registry.Match{{Routes: to(labels{"a": "b"})}}}, true},
		"other matches": {&registry.NetworkService{Matches: []*registry.Match{{Routes: to(labels{"a": "c"})}}}, false},
		"no matches":    {&registry.NetworkService{Matches: []*registry.Match{}}, false},
	} {
		require.Equal(t, c.want, matchutils.MatchNetworkServices(c.query, have), name)
	}
}
