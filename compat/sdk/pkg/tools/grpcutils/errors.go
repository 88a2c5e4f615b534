// SPDX-License-Identifier: Apache-2.0

// Package grpcutils holds what servers and clients over gRPC share: URLs and
// targets, listening, health, status codes.
package grpcutils

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// UnwrapCode returns the status code of err or of the first error that it wraps
// and that has one: codes.OK for nil, codes.Unknown when there is none.
func UnwrapCode(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if withStatus, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
			if code := withStatus.GRPCStatus().Code(); code != codes.Unknown {
				return code
			}
		}
	}
	return codes.Unknown
}
