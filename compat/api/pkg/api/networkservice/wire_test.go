// SPDX-License-Identifier: Apache-2.0

package networkservice_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/networkservicemesh/api/pkg/api/ipam"
	ns "github.com/networkservicemesh/api/pkg/api/networkservice"
	_ "github.com/networkservicemesh/api/pkg/api/registry"
)

// wire is the protocol as other implementations speak it: by message the fields with
// number and type, "*" for repeated and the value type of a map after "map:".
var wire = map[string]map[string]string{
	"connection.Mechanism":   {"cls": "1 string", "type": "2 string", "parameters": "3 map:string"},
	"connection.PathSegment": {"name": "1 string", "id": "2 string", "token": "3 string", "expires": "4 google.protobuf.Timestamp", "metrics": "5 map:string"},
	"connection.Path":        {"index": "1 uint32", "path_segments": "2 *connection.PathSegment"},
	"connection.Connection": {"id": "1 string", "network_service": "2 string", "mechanism": "3 connection.Mechanism",
		"context": "4 connectioncontext.ConnectionContext", "labels": "5 map:string", "path": "6 connection.Path",
		"network_service_endpoint_name": "7 string", "payload": "8 string", "state": "9 connection.State"},
	"connection.ConnectionEvent":              {"type": "1 connection.ConnectionEventType", "connections": "2 map:connection.Connection"},
	"connection.MonitorScopeSelector":         {"path_segments": "1 *connection.PathSegment", "network_services": "2 *string"},
	"networkservice.NetworkServiceRequest":    {"connection": "1 connection.Connection", "mechanism_preferences": "2 *connection.Mechanism"},
	"connectioncontext.IpNeighbor":            {"ip": "1 string", "hardware_address": "2 string"},
	"connectioncontext.Route":                 {"prefix": "1 string", "nextHop": "2 string"},
	"connectioncontext.IpFamily":              {"family": "1 connectioncontext.IpFamily.Family"},
	"connectioncontext.ExtraPrefixRequest":    {"addr_family": "1 connectioncontext.IpFamily", "prefix_len": "2 uint32", "required_number": "3 uint32", "requested_number": "4 uint32"},
	"connectioncontext.PolicyRoute":           {"from": "1 string", "proto": "2 string", "dst_port": "3 string", "src_port": "4 string", "routes": "5 *connectioncontext.Route"},
	"connectioncontext.DNSConfig":             {"dns_server_ips": "1 *string", "search_domains": "2 *string"},
	"connectioncontext.DNSContext":            {"configs": "1 *connectioncontext.DNSConfig"},
	"connectioncontext.EthernetContext":       {"src_mac": "1 string", "dst_mac": "2 string", "vlan_tag": "3 int32"},
	"connectioncontext.ConnectionContext":     {"ip_context": "1 connectioncontext.IPContext", "dns_context": "2 connectioncontext.DNSContext", "ethernet_context": "3 connectioncontext.EthernetContext", "extra_context": "4 map:string", "MTU": "5 uint32"},
	"connectioncontext.IPContext":             {"src_ip_addrs": "1 *string", "dst_ip_addrs": "2 *string", "src_ip_required": "3 bool", "dst_ip_required": "4 bool", "src_routes": "5 *connectioncontext.Route", "dst_routes": "6 *connectioncontext.Route", "excluded_prefixes": "7 *string", "ip_neighbors": "8 *connectioncontext.IpNeighbor", "extra_prefix_request": "9 *connectioncontext.ExtraPrefixRequest", "extra_prefixes": "10 *string", "policies": "11 *connectioncontext.PolicyRoute"},
	"registry.NetworkService":                 {"name": "1 string", "payload": "2 string", "matches": "3 *registry.Match", "path_ids": "4 *string"},
	"registry.Match":                          {"source_selector": "1 map:string", "routes": "2 *registry.Destination", "fallthrough": "3 bool", "metadata": "4 registry.Metadata"},
	"registry.Metadata":                       {"labels": "1 map:string"},
	"registry.Destination":                    {"destination_selector": "1 map:string", "weight": "2 uint32"},
	"registry.NetworkServiceLabels":           {"labels": "1 map:string"},
	"registry.NetworkServiceEndpoint":         {"name": "1 string", "network_service_names": "2 *string", "network_service_labels": "3 map:registry.NetworkServiceLabels", "url": "4 string", "expiration_time": "5 google.protobuf.Timestamp", "initial_registration_time": "6 google.protobuf.Timestamp", "path_ids": "7 *string"},
	"registry.NetworkServiceQuery":            {"network_service": "1 registry.NetworkService", "watch": "2 bool"},
	"registry.NetworkServiceEndpointQuery":    {"network_service_endpoint": "1 registry.NetworkServiceEndpoint", "watch": "2 bool"},
	"registry.NetworkServiceResponse":         {"network_service": "1 registry.NetworkService", "deleted": "2 bool"},
	"registry.NetworkServiceEndpointResponse": {"network_service_endpoint": "1 registry.NetworkServiceEndpoint", "deleted": "2 bool"},
	"ipam.PrefixRequest":                      {"type": "1 ipam.Type", "prefix": "2 string", "exclude_prefixes": "3 *string"},
	"ipam.PrefixResponse":                     {"prefix": "2 string", "exclude_prefixes": "3 *string"},
}

var enums = map[string]map[string]int32{
	"connection.State":                  {"UP": 0, "DOWN": 1, "REFRESH_REQUESTED": 2, "RESELECT_REQUESTED": 3},
	"connection.ConnectionEventType":    {"INITIAL_STATE_TRANSFER": 0, "UPDATE": 1, "DELETE": 2},
	"connectioncontext.IpFamily.Family": {"IPV4": 0, "IPV6": 1},
	"ipam.Type":                         {"UNDEFINED": 0, "ALLOCATE": 1, "DELETE": 2},
}

// methods maps a method to "request reply", "stream:" before those that are streams.
var methods = map[string]string{
	"networkservice.NetworkService.Request":              "networkservice.NetworkServiceRequest connection.Connection",
	"networkservice.NetworkService.Close":                "connection.Connection google.protobuf.Empty",
	"connection.MonitorConnection.MonitorConnections":    "connection.MonitorScopeSelector stream:connection.ConnectionEvent",
	"registry.NetworkServiceRegistry.Register":           "registry.NetworkService registry.NetworkService",
	"registry.NetworkServiceRegistry.Find":               "registry.NetworkServiceQuery stream:registry.NetworkServiceResponse",
	"registry.NetworkServiceRegistry.Unregister":         "registry.NetworkService google.protobuf.Empty",
	"registry.NetworkServiceEndpointRegistry.Register":   "registry.NetworkServiceEndpoint registry.NetworkServiceEndpoint",
	"registry.NetworkServiceEndpointRegistry.Find":       "registry.NetworkServiceEndpointQuery stream:registry.NetworkServiceEndpointResponse",
	"registry.NetworkServiceEndpointRegistry.Unregister": "registry.NetworkServiceEndpoint google.protobuf.Empty",
	"ipam.IPAM.ManagePrefixes":                           "stream:ipam.PrefixRequest stream:ipam.PrefixResponse",
}

func find[D protoreflect.Descriptor](t *testing.T, name string) D {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return found.(D)
}

func typeName(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "map:" + typeName(f.MapValue())
	case f.IsList():
		return "*" + elementName(f)
	default:
		return elementName(f)
	}
}

func elementName(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return string(f.Message().FullName())
	case protoreflect.EnumKind:
		return string(f.Enum().FullName())
	default:
		return f.Kind().String()
	}
}

func TestMessagesAreThoseOfTheProtocol(t *testing.T) {
	for name, want := range wire {
		fields := find[protoreflect.MessageDescriptor](t, name).Fields()
		if fields.Len() != len(want) {
			t.Errorf("%s has %d fields, want %d", name, fields.Len(), len(want))
		}
		for i := range fields.Len() {
			f := fields.Get(i)
			if got := fmt.Sprintf("%d %s", f.Number(), typeName(f)); got != want[string(f.Name())] {
				t.Errorf("%s.%s is %q, want %q", name, f.Name(), got, want[string(f.Name())])
			}
		}
	}
}

func TestEnumsAreThoseOfTheProtocol(t *testing.T) {
	for name, want := range enums {
		values := find[protoreflect.EnumDescriptor](t, name).Values()
		if values.Len() != len(want) {
			t.Errorf("%s has %d values, want %d", name, values.Len(), len(want))
		}
		for i := range values.Len() {
			v := values.Get(i)
			if number, ok := want[string(v.Name())]; !ok || protoreflect.EnumNumber(number) != v.Number() {
				t.Errorf("%s.%s is %d, want %d", name, v.Name(), v.Number(), number)
			}
		}
	}
}

func TestMethodsAreThoseOfTheProtocol(t *testing.T) {
	for name, want := range methods {
		m := find[protoreflect.MethodDescriptor](t, name)
		stream := func(is bool) string {
			if is {
				return "stream:"
			}
			return ""
		}
		got := stream(m.IsStreamingClient()) + string(m.Input().FullName()) + " " + stream(m.IsStreamingServer()) + string(m.Output().FullName())
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// record reads the fields of an encoded message by number, the last of each.
func record(t *testing.T, m proto.Message) map[protowire.Number][]byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	fields := make(map[protowire.Number][]byte)
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		raw = raw[n:]
		if kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(raw)
			fields[number], raw = value, raw[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(number, kind, raw)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		fields[number], raw = raw[:n], raw[n:]
	}
	return fields
}

func TestEncodedBytesCarryTheFieldNumbers(t *testing.T) {
	fields := record(t, &ns.Connection{
		Id: "id", NetworkService: "service", Mechanism: &ns.Mechanism{Type: "KERNEL"}, Labels: map[string]string{"k": "v"},
		Context: &ns.ConnectionContext{MTU: 1446}, NetworkServiceEndpointName: "endpoint", Payload: "IP", State: ns.State_RESELECT_REQUESTED,
		Path: &ns.Path{Index: 1, PathSegments: []*ns.PathSegment{{Name: "nsc"}}},
	})
	for number, want := range map[protowire.Number]string{
		1: "id", 2: "service", 3: "\x12\x06KERNEL", 4: "\x28\xa6\x0b", 5: "\x0a\x01k\x12\x01v",
		6: "\x08\x01\x12\x05\x0a\x03nsc", 7: "endpoint", 8: "IP", 9: "\x03",
	} {
		if string(fields[number]) != want {
			t.Errorf("field %d is %q, want %q", number, fields[number], want)
		}
	}
	if len(fields) != 9 {
		t.Errorf("%d fields, want 9", len(fields))
	}
}

func FuzzConnectionRoundTrip(f *testing.F) {
	seed, err := proto.Marshal(&ns.Connection{Id: "a", Path: &ns.Path{Index: 7}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("\x32\x02\x08\x05"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := new(ns.Connection)
		if proto.Unmarshal(data, conn) != nil {
			return
		}
		// Whatever a peer sends, the helpers must not panic on it.
		conn.GetCurrentPathSegment()
		conn.GetPrevPathSegment()
		conn.GetNextPathSegment()
		conn.MatchesMonitorScopeSelector(&ns.MonitorScopeSelector{PathSegments: conn.GetPath().GetPathSegments()})
		conn.GetContext().GetIpContext().GetSrcRoutesWithExplicitNextHop()
		conn.GetContext().GetIpContext().GetDstIPRoutes()
		if !conn.Clone().Equals(conn) && proto.Equal(conn, conn) {
			t.Fatal("a clone differs from its original")
		}
	})
}
