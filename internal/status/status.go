// SPDX-License-Identifier: Apache-2.0

// Package status is what a running forwarder tells about itself on a unix
// socket, and how forwarder status shows it.
package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
)

// Status of a forwarder at one moment.
type Status struct {
	Name    string    `json:"name"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Plane   string    `json:"plane"`
	Uplink  *Uplink   `json:"uplink,omitempty"`
	// Hops are the ways to other nodes that are in use.
	Hops []uplink.HopStatus `json:"hops"`
	// Settings of the host that are changed while the forwarder runs.
	Settings []uplink.Change `json:"settings,omitempty"`
	// Counters of the classifier, those that have counted something.
	Counters []Counter `json:"counters"`
	// Drops are packets that the plane dropped, by reason.
	Drops    map[string]uint64 `json:"drops,omitempty"`
	Pinholes []Pinhole         `json:"pinholes"`
	Links    []Link            `json:"links"`
}

// Uplink is the link to other nodes.
type Uplink struct {
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address"`
	MTU       int        `json:"mtu"`
	Queues    int        `json:"queues"`
	// Mode of the classifier: native or generic.
	XDPMode string `json:"xdpMode"`
	// ZeroCopy says whether all sockets use the driver's zero-copy mode.
	ZeroCopy bool `json:"zeroCopy"`
}

// Counter is one of the classifier's.
type Counter struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Pinhole is an opening of the classifier.
type Pinhole struct {
	// To is an address and port, with the VNI if it is for one only, or a VLAN.
	To         string `json:"to"`
	References int    `json:"references"`
}

// Link is a joined connection.
type Link struct {
	ID       string `json:"id"`
	Payload  string `json:"payload"`
	MTU      int    `json:"mtu"`
	Path     string `json:"path"`
	Client   Port   `json:"client"`
	Endpoint Port   `json:"endpoint"`
}

// Port is one end of a link.
type Port struct {
	Kind        string `json:"kind"`
	Description string `json:"description"`
	// NetNS is the inode of the network namespace of the pod behind the port, 0
	// for a tunnel.
	NetNS    uint64         `json:"netns,omitempty"`
	Counters plane.Counters `json:"counters"`
}

// NewLink turns a plane's link into what is shown of it. Keys are left out.
func NewLink(l *plane.Link) Link {
	return Link{
		ID: l.ID, Payload: string(l.Payload), MTU: l.MTU, Path: l.Path,
		Client: newPort(&l.Client), Endpoint: newPort(&l.Endpoint),
	}
}

func newPort(p *plane.PortStatus) Port {
	shown := Port{Kind: string(p.Port.Kind()), Description: p.Port.String(), Counters: p.Counters}
	switch port := p.Port.(type) {
	case plane.Kernel:
		shown.NetNS = port.Inode
	case plane.Memif:
		shown.NetNS = port.Inode
	}
	return shown
}

// Serve answers on the unix socket at path until ctx ends. read is called for
// every question. The socket is for root only.
func Serve(ctx context.Context, path string, read func() (*Status, error)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("serve status: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("serve status: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("serve status: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return fmt.Errorf("serve status: %w", err)
	}
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			s, err := read()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(s)
		}),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	return nil
}

// Ask reads the status of the forwarder that serves the socket at path.
func Ask(ctx context.Context, path string) (*Status, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://forwarder/status", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the forwarder for its status: %w; is it running, and is %s its NSM_STATUS_SOCKET?", err, path)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the forwarder for its status: %s", response.Status)
	}
	var s Status
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil {
		return nil, fmt.Errorf("ask the forwarder for its status: %w", err)
	}
	return &s, nil
}
