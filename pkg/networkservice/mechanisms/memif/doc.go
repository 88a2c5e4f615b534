// SPDX-License-Identifier: Apache-2.0

// Package memif negotiates the MEMIF mechanism: shared memory with the process
// of a pod on this node, over a control socket.
//
// Towards the client we listen, on an abstract socket in the client's network
// namespace, and tell it the name. An endpoint listens in its own namespace and
// tells us. The namespace travels as a file descriptor beside the request, as
// with the kernel mechanism. In its place may be the descriptor of a socket
// file, for pods that share no view of the file system with us.
package memif

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// maxSocket is the longest socket path: sockaddr_un has 108 bytes (unix(7)), of
// which one is the NUL at the end of a path or at the beginning of an abstract
// name.
const maxSocket = 107

// maxName is the longest name of an interface that we show.
const maxName = 63

// listenPort is the end towards a client. Its parameters say in which namespace
// to listen; without one the socket is a file in folder.
func listenPort(mechanism *memifmech.Mechanism, id, folder string) (plane.Memif, error) {
	name, path, err := parse(mechanism)
	if err != nil {
		return plane.Memif{}, err
	}
	p := plane.Memif{Name: name, Master: true}
	if path != "" {
		p.Device, p.Inode, err = netns.Identity(path)
		if err == nil {
			p.NetNS, p.Socket = path, abstractName(id)
			return p, nil
		}
		// The descriptor of the socket file that we gave comes back in a refresh.
		if !isSocket(path) {
			return plane.Memif{}, fmt.Errorf("memif mechanism: %w", err)
		}
	}
	if folder == "" {
		return plane.Memif{}, errors.New("memif mechanism: no network namespace given (parameter inodeURL)")
	}
	p.Socket = filepath.Join(folder, digest(id)+".sock")
	if len(p.Socket) > maxSocket {
		return plane.Memif{}, fmt.Errorf("memif mechanism: folder %s is too long for a socket in it", folder)
	}
	return p, nil
}

// connectPort is the end towards an endpoint, from its answer.
func connectPort(mechanism *memifmech.Mechanism) (plane.Memif, error) {
	name, path, err := parse(mechanism)
	if err != nil {
		return plane.Memif{}, err
	}
	p := plane.Memif{Name: name}
	if path == "" {
		return plane.Memif{}, errors.New("memif mechanism: the endpoint gave no network namespace and no socket (parameter inodeURL)")
	}
	p.Device, p.Inode, err = netns.Identity(path)
	if err == nil {
		p.NetNS, p.Socket = path, mechanism.GetSocketFilename()
		return p, validName(p.Socket)
	}
	if !isSocket(path) {
		return plane.Memif{}, fmt.Errorf("memif mechanism: %w", err)
	}
	p.Socket = path
	return p, nil
}

// parse reads what both ends have: the pod's name for the interface, and the
// path in our own /proc of the file that came beside the mechanism. Either may
// be empty.
func parse(mechanism *memifmech.Mechanism) (name, path string, err error) {
	name = mechanism.GetParameters()[common.InterfaceNameKey]
	if len(name) > maxName || !printable(name) {
		return "", "", fmt.Errorf("memif mechanism: interface name %q is too long or cannot be shown", name)
	}
	text := mechanism.GetNetNSURL()
	if text == "" {
		return name, "", nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("memif mechanism: network namespace: %w", err)
	case u.Scheme != memifmech.FileScheme:
		return "", "", fmt.Errorf("memif mechanism: network namespace %s: its file descriptor was not received", u)
	case u.Path == "":
		return "", "", fmt.Errorf("memif mechanism: network namespace %s: no path", u)
	}
	return name, u.Path, nil
}

// isSocket tells whether the file at path, or behind the descriptor that it
// names, is a socket with a place in a file system.
func isSocket(path string) bool {
	if len(path) > maxSocket {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}

// validName checks the name of a socket that somebody else has made in a
// namespace of theirs. A path would be one in our own file system, where they
// have no say.
func validName(name string) error {
	switch bare, abstract := strings.CutPrefix(name, "@"); {
	case name == "":
		return errors.New("memif mechanism: no socket given (parameter socketfile)")
	case !abstract:
		return fmt.Errorf("memif mechanism: socket %q: want '@' and the name of an abstract socket, or the descriptor of a socket file", name)
	case bare == "":
		return errors.New("memif mechanism: socket \"@\" has no name")
	case len(bare) > maxSocket:
		return fmt.Errorf("memif mechanism: socket name of %d bytes, at most %d fit an address", len(bare), maxSocket)
	case !printable(bare):
		return fmt.Errorf("memif mechanism: socket name %q holds characters that cannot be shown", name)
	}
	return nil
}

// printable is asked of all names that end up in tables and labels.
func printable(name string) bool {
	return !strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) || c == unicode.ReplacementChar })
}

// abstractName is where we listen for the client of a connection, named as in
// the stock forwarder. The id is not always ours: one that makes no name is
// replaced by its digest.
func abstractName(id string) string {
	name := "@/tmp/memif/" + id + "/memif.socket"
	if validName(name) != nil {
		name = "@/tmp/memif/" + digest(id) + "/memif.socket"
	}
	return name
}

func digest(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}
