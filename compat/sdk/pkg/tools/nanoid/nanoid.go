// SPDX-License-Identifier: Apache-2.0

// Package nanoid makes short random names.
package nanoid

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// DefaultAlphabet is what names are made of unless WithAlphabet says otherwise.
const DefaultAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Limits of interface names: IFNAMSIZ less its NUL, and how much of that the
// network service may take.
const (
	interfaceNameLength = 15
	serviceNameLength   = 10
)

type generatorOpts struct {
	alphabet string
	random   io.Reader
}

// Option changes how a name is made.
type Option func(o *generatorOpts)

// WithAlphabet sets the letters to choose from: 1 to 256 bytes.
func WithAlphabet(alphabet string) Option {
	return func(o *generatorOpts) { o.alphabet = alphabet }
}

// WithRandomByteGenerator sets the source of randomness.
func WithRandomByteGenerator(generator io.Reader) Option {
	return func(o *generatorOpts) { o.random = generator }
}

// MustGenerateString is GenerateString that panics on error.
func MustGenerateString(size int, opts ...Option) string {
	name, err := GenerateString(size, opts...)
	if err != nil {
		panic(err)
	}
	return name
}

// GenerateString returns size letters, each as likely as any other.
func GenerateString(size int, opt ...Option) (string, error) {
	o := generatorOpts{alphabet: DefaultAlphabet, random: rand.Reader}
	for _, apply := range opt {
		apply(&o)
	}
	if size < 0 {
		return "", fmt.Errorf("make name: size %d is negative", size)
	}
	if o.alphabet == "" || len(o.alphabet) > 256 {
		return "", fmt.Errorf("make name: alphabet of %d letters, want 1 to 256", len(o.alphabet))
	}
	// Bytes are masked to the next power of two and those outside the alphabet
	// thrown away, since a modulo would favour its first letters.
	mask := byte(1<<bits.Len(uint(len(o.alphabet)-1)) - 1)
	random := bufio.NewReaderSize(o.random, 2*size+16)
	name := make([]byte, 0, size)
	for len(name) < size {
		b, err := random.ReadByte()
		if err != nil {
			return "", fmt.Errorf("make name: %w", err)
		}
		if i := int(b & mask); i < len(o.alphabet) {
			name = append(name, o.alphabet[i])
		}
	}
	return string(name), nil
}

// GenerateLinuxInterfaceName returns a random interface name of 15 letters that
// starts with (at most 10 letters of) the network service's name and a dash.
func GenerateLinuxInterfaceName(ns string) (string, error) {
	if ns == "" {
		return "", errors.New("make interface name: network service is empty")
	}
	prefix := ns[:min(len(ns), serviceNameLength)] + "-"
	suffix, err := GenerateString(interfaceNameLength - len(prefix))
	if err != nil {
		return "", err
	}
	return prefix + suffix, nil
}
