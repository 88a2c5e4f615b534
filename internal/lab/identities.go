// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"path/filepath"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/spiffe"
)

// identities gives every program of the lab an SVID of its own, over a Workload
// API socket of its own.
type identities struct {
	authority *spiffe.Authority

	mu        sync.Mutex
	workloads map[string]*spiffe.Workload
}

func newIdentities(ttl time.Duration) (*identities, error) {
	authority, err := spiffe.NewAuthority(spiffe.Config{TTL: ttl})
	if err != nil {
		return nil, err
	}
	return &identities{authority: authority, workloads: map[string]*spiffe.Workload{}}, nil
}

// add offers an SVID for a program on a node and returns the URL of the socket.
// A program that starts again finds the same one.
func (i *identities) add(dir, name string) (string, error) {
	path := filepath.Join(dir, name+".spiffe.sock")
	i.mu.Lock()
	defer i.mu.Unlock()
	if w, ok := i.workloads[path]; ok {
		return w.URL(), nil
	}
	w, err := i.authority.Listen(path, filepath.Join("/ns/nsm-system/pod", name))
	if err != nil {
		return "", err
	}
	i.workloads[path] = w
	return w.URL(), nil
}

func (i *identities) close() { i.authority.Close() }

// Identity offers an SVID for a program that the lab does not start, and
// returns the URL of its Workload API.
func (n *Node) Identity(name string) (string, error) { return n.lab.identities.add(n.Dir, name) }
