// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// keyPair is a certificate from files, read again when they have changed.
type keyPair struct {
	certFile, keyFile string
	watch             bool

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed [2]time.Time
}

// get is called for each TLS handshake. While the files are being replaced, and
// so do not fit each other, the old certificate stays in use.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.loaded != nil && !k.watch {
		return k.loaded, nil
	}
	changed := [2]time.Time{modified(k.certFile), modified(k.keyFile)}
	if k.loaded != nil && changed == k.changed {
		return k.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		if k.loaded != nil {
			return k.loaded, nil
		}
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	k.loaded, k.changed = &pair, changed
	return k.loaded, nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
