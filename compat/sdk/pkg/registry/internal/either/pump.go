// SPDX-License-Identifier: Apache-2.0

package either

import (
	"errors"
	"io"
)

// Pump sends what it receives until from ends. The end of the stream is no error.
func Pump[R any](from RecvStream[R], to SendStream[R]) error {
	for {
		response, err := from.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.Send(response); err != nil {
			return err
		}
	}
}
