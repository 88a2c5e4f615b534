// SPDX-License-Identifier: Apache-2.0

// Command nsc connects the pod that it runs in to network services.
package main

import "github.com/nsm-afxdp/forwarder/internal/nsc"

func main() { nsc.Program().Main() }
