// SPDX-License-Identifier: Apache-2.0

package plane

// Devices is implemented by planes whose tunnels are devices of Linux. Such a
// device outlives the process that made it, and goes on when Join is called with
// the same parameters again; and Linux makes demands on parameters that the
// negotiation would choose freely. What Linux has no device for is resumed by the
// next process.
//
// All methods are safe for concurrent use, and take the id of a connection as
// Join does.
type Devices interface {
	// InProcess tells whether the connection's tunnel would not be a device of
	// Linux but this process itself. Recall needs all of such a connection, its
	// private key included.
	InProcess(c *Connection) bool

	// Recall tells that an earlier process has joined the connection. The port
	// that is no pod's may be nil, unless the tunnel was that process: then it is
	// resumed, with its keys and UDP port, and the connection is joined as it was.
	// Join takes it over, and Leave takes it away.
	Recall(c *Connection)

	// Forget ends what Recall has resumed, if no Join has taken it over. The
	// interface stays in the pod: it is removed, or another connection that is
	// joined under its name takes it over.
	Forget(id string) error

	// Left is the tunnel's end that an earlier process left for a connection
	// that was recalled: VXLAN, or WireGuard with its private key. It is nil if
	// there is none.
	Left(id string) Port

	// WireGuardPort is the UDP port to negotiate for the connection's WireGuard
	// tunnel; zero if any will do. It stays the connection's for a minute, and
	// for as long as it is joined.
	WireGuardPort(id string) (uint16, error)

	// HasRoom tells whether no other connection stands in the way of this end
	// of a tunnel.
	HasRoom(id string, v VXLAN) bool
}

// DevicesOf returns the plane's Devices, or those of a plane that has none: it
// leaves nothing and demands nothing.
func DevicesOf(p Plane) Devices {
	if d, ok := p.(Devices); ok {
		return d
	}
	return noDevices{}
}

type noDevices struct{}

func (noDevices) InProcess(*Connection) bool           { return false }
func (noDevices) Recall(*Connection)                   {}
func (noDevices) Forget(string) error                  { return nil }
func (noDevices) Left(string) Port                     { return nil }
func (noDevices) WireGuardPort(string) (uint16, error) { return 0, nil }
func (noDevices) HasRoom(string, VXLAN) bool           { return true }
