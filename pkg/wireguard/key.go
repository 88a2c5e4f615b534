// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
)

// Key is a Curve25519 key, private or public.
type Key [32]byte

// String is the key in base64, as wg(8) prints it. Mind that it may be private.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Public is the public key that belongs to a private one.
func (k Key) Public() (Key, error) {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		return Key{}, fmt.Errorf("derive public key: %w", err)
	}
	return Key(private.PublicKey().Bytes()), nil
}
