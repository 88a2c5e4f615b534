// SPDX-License-Identifier: Apache-2.0

// Command nsmgr manages the network service connections of a node.
package main

import "github.com/nsm-afxdp/forwarder/internal/nsmgr"

func main() { nsmgr.Program().Main() }
