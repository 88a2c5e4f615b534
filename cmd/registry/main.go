// SPDX-License-Identifier: Apache-2.0

// Command registry keeps the network services and endpoints of a domain in memory.
package main

import "github.com/nsm-afxdp/forwarder/internal/registry"

func main() { registry.Program().Main() }
