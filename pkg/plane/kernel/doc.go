// SPDX-License-Identifier: Apache-2.0

// Package kernel is the forwarding plane that leaves packets to Linux: it makes
// devices by netlink and puts them into the pods.
//
//   - Two pods of a node are joined by a veth pair.
//   - VXLAN is a device of the node's network namespace that lies in the pod, one
//     for each connection. Its UDP socket stays with the node.
//   - VLAN is a sub-interface of the uplink that lies in the pod.
//   - WireGuard is a device as well, if this kernel has it. Otherwise it is
//     wireguard-go on a TUN device in the pod, its datagrams on one UDP socket of
//     the node.
//   - memif is shared memory between processes, and Linux has no device for it.
//
// What Linux has itself goes on without this process. After a restart, the same
// Join finds the device by name, alias and parameters and leaves it as it is; one
// with other parameters is replaced. Parameters that were chosen at random (VNI,
// private key) are read back from the device: see plane.Devices.
//
// A tunnel of wireguard-go ends with the process. Its TUN device stays in the pod,
// without a carrier but with its addresses and routes, and Recall puts a tunnel with
// the same keys and port behind it: packets flow again before anybody asks. What
// Recall needs for that, the private key included, somebody has to write down
// before Join. Counters begin at zero, and the link's path says "resumed" until
// Join takes it over.
//
// # UDP ports of WireGuard
//
// A WireGuard device of Linux has one private key and one UDP port, and no two of
// them in a namespace share a port. NSM has a private key for each connection. So
// each connection has a port of its own: the lowest that is free from 51820 up,
// which WireGuardPort tells before it is negotiated. Firewalls between the nodes
// have to let as many pass. Tunnels of wireguard-go all share port 51820.
//
// A device counts packets as WireGuard sends them: padded to a multiple of 16
// bytes, and keepalives among them, one in ten seconds. Counters are exact but
// for that.
//
// # VNIs are unique on a node
//
// Linux looks a VXLAN packet's device up by UDP port and VNI, not by the address
// of the sender (linux/drivers/net/vxlan, vxlan_vs_find_vni). Two connections
// with peers that happened to choose the same VNI can therefore not both be
// there; the embedded plane has no such limit. Join of the later one fails with
// an error that wraps plane.ErrUnsupported. VNIs are 24 random bits, so the next
// attempt of the client gets another one.
//
// # VLANs are, too
//
// Linux has one interface for a VLAN of a device, and it lies in the first pod
// that asked. Join of another connection with the same id fails as well, and here
// another attempt does not help: the id is that of the network. What could share
// it, macvlan interfaces on one that stays with the node, would need something of
// ours that outlives pods and process and cannot be told from what others made.
// Nodes with several pods on a VLAN want the embedded plane, where they are one
// broadcast domain.
package kernel
