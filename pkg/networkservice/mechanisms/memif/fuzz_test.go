// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"strings"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
)

// FuzzParameters gives both ends any parameters: what comes out must be fit for
// an address, whatever went in.
func FuzzParameters(f *testing.F) {
	f.Add("c1", "file:///proc/self/ns/net", "@/tmp/memif/c1/memif.socket", "nsm-1")
	f.Add("c1", "", "", "")
	f.Add("a\x00b", "file:///proc/self/fd/0", "@", "\x1b[2J")
	f.Add("../../etc", "inode://4/1", "/run/x.sock", "x")
	f.Add(strings.Repeat("x", 200), "file://%00/%00", "@"+strings.Repeat("x", 200), strings.Repeat("x", 64))
	f.Fuzz(func(t *testing.T, id, url, socket, name string) {
		mechanism := memifmech.ToMechanism(&networkservice.Mechanism{Type: memifmech.MECHANISM, Parameters: map[string]string{
			memifmech.NetNSURL: url, memifmech.SocketFilename: socket, "name": name,
		}})
		for _, end := range []string{"listen", "connect"} {
			p, err := connectPort(mechanism)
			if end == "listen" {
				p, err = listenPort(mechanism, id, "/run/nsm-forwarder/memif")
			}
			if err != nil {
				continue
			}
			abstract := strings.HasPrefix(p.Socket, "@")
			switch {
			case len(strings.TrimPrefix(p.Socket, "@")) > maxSocket || len(p.Socket) < 2:
				t.Errorf("%s: socket %q fits no address", end, p.Socket)
			case !printable(p.Socket) || !printable(p.Name):
				t.Errorf("%s: %q, %q cannot be shown", end, p.Socket, p.Name)
			case abstract != (p.NetNS != "") || abstract != (p.Inode != 0):
				t.Errorf("%s: an abstract socket and a namespace go together: %+v", end, p)
			case end == "listen" && !abstract && (!strings.HasPrefix(p.Socket, "/run/nsm-forwarder/memif/") || strings.Contains(p.Socket, "..")):
				t.Errorf("%s: %q is not in the folder", end, p.Socket)
			}
		}
	})
}
