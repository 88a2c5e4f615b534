// SPDX-License-Identifier: Apache-2.0

// Package kernel is the forwarding plane that leaves packets to Linux: it makes
// devices by netlink and puts them into the pods.
//
//   - Two pods of a node are joined by a veth pair.
//   - VXLAN is a device of the node's network namespace that lies in the pod, one
//     for each connection. Its UDP socket stays with the node.
//   - VLAN is a sub-interface of the uplink that lies in the pod.
//   - WireGuard is wireguard-go on a TUN device in the pod, its datagrams on one
//     UDP socket of the node.
//   - memif is shared memory between processes, and Linux has no device for it.
//
// What Linux has itself goes on without this process. After a restart, the same
// Join finds the device by name, alias and parameters and leaves it as it is; one
// with other parameters is replaced. WireGuard tunnels end with the process, and
// the next Join makes them again.
//
// # Why not Linux's WireGuard
//
// A WireGuard device of Linux has one private key and one UDP port, and no two of
// them in a namespace share a port. NSM has a private key for each connection,
// and one port, 51820, for all of them: Linux's could serve the first connection
// of a node and no other. So wireguard.Hub serves all.
//
// # VNIs are unique on a node
//
// Linux looks a VXLAN packet's device up by UDP port and VNI, not by the address
// of the sender (linux/drivers/net/vxlan, vxlan_vs_find_vni). Two connections
// with peers that happened to choose the same VNI can therefore not both be
// there; the embedded plane has no such limit. Join of the later one fails with
// an error that wraps plane.ErrUnsupported. VNIs are 24 random bits, so the next
// attempt of the client gets another one. The same holds for VLAN ids.
package kernel
