// SPDX-License-Identifier: Apache-2.0

// Package registry holds the messages and gRPC services by which network services
// and endpoints are registered, found and watched.
package registry

//go:generate ../../../generate.sh
