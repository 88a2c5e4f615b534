// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"net/url"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/service"
)

// A client that names a namespace by its path, and has no descriptor of it to show,
// must not get an interface there: the nsmgr would open the path as root.
func TestAClientCannotNameANamespaceThatItCannotOpen(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{})
	n := l.Nodes[0]
	link(t, l, localCase)
	socket, err := n.Identity("intruder")
	require.NoError(t, err)
	ctx := within(t, 20*time.Second)
	identity, err := service.NewIdentityFrom(ctx, socket, time.Minute)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, identity.Close()) })
	connectTo, err := url.Parse(n.NSMgrURL())
	require.NoError(t, err)
	// Without sendfd, which would open the path itself.
	intruder := client.NewClient(ctx, client.WithName("intruder"), client.WithClientURL(connectTo),
		client.WithDialOptions(identity.DialOptions()...), client.WithoutRefresh())
	before := links(t, n.Namespace)
	mechanism := kernel.New("file://" + n.Path)
	kernel.ToMechanism(mechanism).SetInterfaceName("nsm-1")
	_, err = intruder.Request(ctx, &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "intruder-0", NetworkService: localCase.name},
		MechanismPreferences: []*networkservice.Mechanism{mechanism},
	})
	require.ErrorContains(t, err, "want an inode: URL and the file's descriptor beside the message")
	require.Equal(t, before, links(t, n.Namespace))
}
