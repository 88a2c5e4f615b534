// SPDX-License-Identifier: Apache-2.0

// Command nse offers network services from the pod that it runs in.
package main

import "github.com/nsm-afxdp/forwarder/internal/nse"

func main() { nse.Program().Main() }
