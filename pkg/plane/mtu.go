// SPDX-License-Identifier: Apache-2.0

package plane

// MinMTU6 is the least MTU that IPv6 demands of a link (RFC 8200, section 5).
const MinMTU6 = 1280

// TunnelMTU is the MTU inside a tunnel that adds overhead bytes to a packet, over
// a link of MTU link, where outer packets are fragmented if need be: not below
// MinMTU6 as long as IPv6 can use the link itself. RFC 8200 wants fragmentation
// below IPv6 on links that carry less. Two fragments suffice, since no tunnel's
// overhead is as long as the link's MTU.
//
// Over a smaller link it is what is left. So it is for tunnels whose packets are
// not fragmented, over any link: link - overhead.
func TunnelMTU(link, overhead int) int {
	if link < MinMTU6 {
		return link - overhead
	}
	return max(MinMTU6, link-overhead)
}
