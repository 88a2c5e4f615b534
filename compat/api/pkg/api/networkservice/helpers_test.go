// SPDX-License-Identifier: Apache-2.0

package networkservice_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	ns "github.com/networkservicemesh/api/pkg/api/networkservice"
)

func path(index uint32, names ...string) *ns.Path {
	p := &ns.Path{Index: index}
	for _, name := range names {
		p.PathSegments = append(p.PathSegments, &ns.PathSegment{Name: name, Id: name + "-id", Token: name + "-token"})
	}
	return p
}

func TestPathSegmentsAroundTheIndex(t *testing.T) {
	for _, test := range []struct {
		name                string
		conn                *ns.Connection
		prev, current, next string
	}{
		{"nil connection", nil, "", "", ""},
		{"no path", &ns.Connection{}, "", "", ""},
		{"empty path", &ns.Connection{Path: path(0)}, "", "", ""},
		{"first of three", &ns.Connection{Path: path(0, "a", "b", "c")}, "", "a", "b"},
		{"middle of three", &ns.Connection{Path: path(1, "a", "b", "c")}, "a", "b", "c"},
		{"last of three", &ns.Connection{Path: path(2, "a", "b", "c")}, "b", "c", ""},
		{"just past the end", &ns.Connection{Path: path(3, "a", "b", "c")}, "c", "", ""},
		{"far past the end", &ns.Connection{Path: path(4, "a", "b", "c")}, "", "", ""},
		{"largest index", &ns.Connection{Path: path(1<<32-1, "a", "b", "c")}, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			prev, current, next := test.conn.GetPrevPathSegment(), test.conn.GetCurrentPathSegment(), test.conn.GetNextPathSegment()
			if prev.GetName() != test.prev || current.GetName() != test.current || next.GetName() != test.next {
				t.Errorf("%q %q %q, want %q %q %q", prev.GetName(), current.GetName(), next.GetName(), test.prev, test.current, test.next)
			}
		})
	}
}

func TestSelectorsMatchContiguousRuns(t *testing.T) {
	conn := &ns.Connection{NetworkService: "web", Path: path(1, "nsc", "mgr", "fwd", "nse")}
	segment := func(name, id, token string) *ns.PathSegment {
		return &ns.PathSegment{Name: name, Id: id, Token: token}
	}
	for _, test := range []struct {
		name     string
		segments []*ns.PathSegment
		services []string
		want     bool
	}{
		{"empty selector", nil, nil, true},
		{"the whole path", path(0, "nsc", "mgr", "fwd", "nse").PathSegments, nil, true},
		{"a run in the middle", path(0, "mgr", "fwd").PathSegments, nil, true},
		{"the last segment", path(0, "nse").PathSegments, nil, true},
		{"a gap", path(0, "nsc", "fwd").PathSegments, nil, false},
		{"wrong order", path(0, "fwd", "mgr").PathSegments, nil, false},
		{"longer than the path", path(0, "nsc", "mgr", "fwd", "nse", "x").PathSegments, nil, false},
		{"runs over the end", path(0, "nse", "x").PathSegments, nil, false},
		{"name only", []*ns.PathSegment{segment("fwd", "", "")}, nil, true},
		{"id only", []*ns.PathSegment{segment("", "fwd-id", "")}, nil, true},
		{"token only", []*ns.PathSegment{segment("", "", "fwd-token")}, nil, true},
		{"name and another's id", []*ns.PathSegment{segment("fwd", "mgr-id", "")}, nil, false},
		{"name and another's token", []*ns.PathSegment{segment("fwd", "", "mgr-token")}, nil, false},
		{"wildcards fill a gap", []*ns.PathSegment{segment("nsc", "", ""), {}, segment("fwd", "", "")}, nil, true},
		{"as many wildcards as segments", []*ns.PathSegment{{}, {}, {}, {}}, nil, true},
		{"more wildcards than segments", []*ns.PathSegment{{}, {}, {}, {}, {}}, nil, false},
		{"its service", nil, []string{"db", "web"}, true},
		{"other services", nil, []string{"db"}, false},
		{"its service, other segment", path(0, "x").PathSegments, []string{"web"}, false},
		{"its segment, other service", path(0, "nsc").PathSegments, []string{"db"}, false},
		{"both", path(0, "nsc").PathSegments, []string{"web"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			selector := &ns.MonitorScopeSelector{PathSegments: test.segments, NetworkServices: test.services}
			if got := conn.MatchesMonitorScopeSelector(selector); got != test.want {
				t.Errorf("matches = %v, want %v", got, test.want)
			}
			filtered := ns.FilterMapOnManagerScopeSelector(map[string]*ns.Connection{"a": conn, "b": nil}, selector)
			if _, kept := filtered["a"]; kept != test.want || len(filtered) > 1 {
				t.Errorf("filtered to %v", filtered)
			}
		})
	}
	if (*ns.Connection)(nil).MatchesMonitorScopeSelector(nil) {
		t.Error("a nil connection matched")
	}
	if !conn.MatchesMonitorScopeSelector(nil) {
		t.Error("a nil selector did not match")
	}
	if got := ns.FilterMapOnManagerScopeSelector(nil, nil); got == nil {
		t.Error("filtering nothing gave a nil map")
	}
}

func describe(routes []*ns.Route) (out []string) {
	for _, r := range routes {
		out = append(out, strings.TrimSpace(r.GetPrefix()+" "+r.GetNextHop()))
	}
	return out
}

func TestRoutesGetThePeerAsNextHop(t *testing.T) {
	for _, test := range []struct {
		name   string
		peer   []string
		routes []string // "prefix nexthop"
		want   []string
	}{
		{"no routes", []string{"10.0.0.1/32"}, nil, nil},
		{"point to point route stays on the link", []string{"10.0.0.1/32"}, []string{"10.0.0.1/32"}, []string{"10.0.0.1/32"}},
		{"inside the peer's subnet stays on the link", []string{"10.0.0.1/24"}, []string{"10.0.0.128/25"}, []string{"10.0.0.128/25"}},
		{"default route goes to the peer", []string{"10.0.0.1/32"}, []string{"0.0.0.0/0"}, []string{"0.0.0.0/0 10.0.0.1"}},
		{"first address of the family", []string{"2001:db8::1/128", "10.0.0.1/32", "10.0.0.9/32"}, []string{"1.0.0.0/8", "::/0"}, []string{"1.0.0.0/8 10.0.0.1", "::/0 2001:db8::1"}},
		{"no address of the family", []string{"10.0.0.1/32"}, []string{"::/0"}, []string{"::/0"}},
		{"given next hop stays", []string{"10.0.0.1/32"}, []string{"1.0.0.0/8 10.0.0.7"}, []string{"1.0.0.0/8 10.0.0.7"}},
		{"next hop that does not parse is replaced", []string{"10.0.0.1/32"}, []string{"1.0.0.0/8 x"}, []string{"1.0.0.0/8 10.0.0.1"}},
		{"prefix that does not parse is left alone", []string{"10.0.0.1/32"}, []string{"x"}, []string{"x"}},
		{"peer that does not parse is no peer", []string{"10.0.0.1", ""}, []string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var routes []*ns.Route
			for _, r := range test.routes {
				prefix, hop, _ := strings.Cut(r, " ")
				routes = append(routes, &ns.Route{Prefix: prefix, NextHop: hop})
			}
			src := (&ns.IPContext{DstIpAddrs: test.peer, SrcRoutes: routes}).GetSrcRoutesWithExplicitNextHop()
			dst := (&ns.IPContext{SrcIpAddrs: test.peer, DstRoutes: routes}).GetDstRoutesWithExplicitNextHop()
			if !slices.Equal(describe(src), test.want) || !slices.Equal(describe(dst), test.want) {
				t.Errorf("client %q, endpoint %q, want %q", describe(src), describe(dst), test.want)
			}
			for i, r := range routes {
				prefix, hop, _ := strings.Cut(test.routes[i], " ")
				if r.GetPrefix() != prefix || r.GetNextHop() != hop {
					t.Errorf("the original route changed to %v", r)
				}
			}
		})
	}
}

func TestHostRoutesSkipWhatIsOnTheLink(t *testing.T) {
	ip := &ns.IPContext{
		SrcIpAddrs: []string{"10.0.0.2/24", "fe80::2/64", "bad"},
		DstIpAddrs: []string{"10.0.0.1/32", "192.168.0.1/16"},
	}
	if got := describe(ip.GetDstIPRoutes()); !slices.Equal(got, []string{"192.168.0.1/16"}) {
		t.Errorf("routes to the endpoint: %q", got)
	}
	if got := describe(ip.GetSrcIPRoutes()); !slices.Equal(got, []string{"10.0.0.2/24", "fe80::2/64"}) {
		t.Errorf("routes to the client: %q", got)
	}
	if nets := ip.GetSrcIPNets(); len(nets) != 2 || nets[0].String() != "10.0.0.2/24" {
		t.Errorf("addresses lose their host bits or count: %v", nets)
	}
	var none *ns.IPContext
	if none.GetSrcIPNets() != nil || none.GetDstIPRoutes() != nil || none.GetSrcRoutesWithExplicitNextHop() != nil {
		t.Error("a nil context is not empty")
	}
}

func TestPortRanges(t *testing.T) {
	for text, want := range map[string]*ns.PortRange{
		"":            nil,
		"80":          {Start: 80, End: 80},
		"80-90":       {Start: 80, End: 90},
		"0-65535":     {Start: 0, End: 65535},
		"90-80":       {Start: 90, End: 80},
		"00080-00090": {Start: 80, End: 90},
	} {
		if got, err := ns.ParsePortRange(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParsePortRange(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-", "80-", "-80", "65536", "1-65536", "1-2-3", "a", " 80", "80 - 90", "+1", "0x50"} {
		if got, err := ns.ParsePortRange(text); err == nil {
			t.Errorf("ParsePortRange(%q) = %v without an error", text, got)
		}
	}
}

func FuzzParsePortRange(f *testing.F) {
	for _, seed := range []string{"", "80", "80-90", "1-2-3", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ns.ParsePortRange(text)
		if err != nil || got == nil {
			return
		}
		again, err := ns.ParsePortRange(fmt.Sprintf("%d-%d", got.Start, got.End))
		if err != nil || *again != *got {
			t.Fatalf("%q parsed to %v, which comes back as %v, %v", text, got, again, err)
		}
	})
}

func TestExtraPrefixRequestsAreChecked(t *testing.T) {
	valid := func(change func(*ns.ExtraPrefixRequest)) *ns.ExtraPrefixRequest {
		r := &ns.ExtraPrefixRequest{AddrFamily: &ns.IpFamily{}, PrefixLen: 24, RequiredNumber: 1, RequestedNumber: 2}
		change(r)
		return r
	}
	for name, test := range map[string]struct {
		request *ns.ExtraPrefixRequest
		ok      bool
	}{
		"valid":             {valid(func(*ns.ExtraPrefixRequest) {}), true},
		"longest IPv4":      {valid(func(r *ns.ExtraPrefixRequest) { r.PrefixLen = 32 }), true},
		"too long IPv4":     {valid(func(r *ns.ExtraPrefixRequest) { r.PrefixLen = 33 }), false},
		"longest IPv6":      {valid(func(r *ns.ExtraPrefixRequest) { r.PrefixLen, r.AddrFamily.Family = 128, ns.IpFamily_IPV6 }), true},
		"too long IPv6":     {valid(func(r *ns.ExtraPrefixRequest) { r.PrefixLen, r.AddrFamily.Family = 129, ns.IpFamily_IPV6 }), false},
		"no length":         {valid(func(r *ns.ExtraPrefixRequest) { r.PrefixLen = 0 }), false},
		"no family":         {valid(func(r *ns.ExtraPrefixRequest) { r.AddrFamily = nil }), false},
		"none required":     {valid(func(r *ns.ExtraPrefixRequest) { r.RequiredNumber = 0 }), false},
		"none requested":    {valid(func(r *ns.ExtraPrefixRequest) { r.RequestedNumber = 0 }), false},
		"fewer than needed": {valid(func(r *ns.ExtraPrefixRequest) { r.RequiredNumber = 3 }), false},
		"missing":           {nil, false},
	} {
		if err := test.request.IsValid(); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClonesAreDeep(t *testing.T) {
	request := &ns.NetworkServiceRequest{
		Connection:           &ns.Connection{Labels: map[string]string{"a": "b"}, Path: path(0, "x")},
		MechanismPreferences: []*ns.Mechanism{{Type: "KERNEL"}},
	}
	clone := request.Clone()
	clone.GetConnection().Labels["a"] = "changed"
	clone.GetConnection().GetPath().GetPathSegments()[0].Name = "changed"
	if request.GetConnection().GetLabels()["a"] != "b" || request.GetConnection().GetCurrentPathSegment().GetName() != "x" {
		t.Error("changing the clone changed the original")
	}
	if clone.GetConnection().Equals(request.GetConnection()) || !request.Clone().GetConnection().Equals(request.GetRequestConnection()) {
		t.Error("Equals is wrong")
	}
	preferences := request.GetRequestMechanismPreferences()
	preferences[0] = nil
	if request.GetMechanismPreferences()[0] == nil {
		t.Error("the preferences are shared with the request")
	}
	if (&ns.NetworkServiceRequest{}).GetRequestMechanismPreferences() == nil {
		t.Error("no preferences came as nil")
	}
}
