// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

const routeFamily = unix.NETLINK_ROUTE

// sysctlRoot shows the namespace of the thread that opens files below it.
const sysctlRoot = "/proc/sys/net/"

type namespaceID struct{ dev, ino uint64 }

type namespaceLock struct {
	sync.Mutex
	users int
}

var (
	locksMu sync.Mutex
	locks   = map[namespaceID]*namespaceLock{}
)

// lockNamespace keeps others of this process from changing the namespace. The
// entry lives as long as someone holds or waits for it.
func lockNamespace(path string) (unlock func(), err error) {
	dev, ino, err := netns.Identity(path)
	if err != nil {
		return nil, err
	}
	id := namespaceID{dev, ino}
	locksMu.Lock()
	l := locks[id]
	if l == nil {
		l = new(namespaceLock)
		locks[id] = l
	}
	l.users++
	locksMu.Unlock()

	l.Lock()
	return func() {
		l.Unlock()
		locksMu.Lock()
		defer locksMu.Unlock()
		if l.users--; l.users == 0 {
			delete(locks, id)
		}
	}, nil
}

func hasIPv6() bool {
	_, err := os.Stat(sysctlRoot + "ipv6")
	return err == nil
}

// The settings of ours, below sysctlRoot.
const pingGroups = "ipv4/ping_group_range"

func (p *pod) disableIPv6() string   { return "ipv6/conf/" + p.name + "/disable_ipv6" }
func (p *pod) routeLocalnet() string { return "ipv4/conf/" + p.name + "/route_localnet" }

// readSysctl returns the fields of a setting separated by single blanks, and
// nothing for one that this kernel does not have.
func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(sysctlRoot + key)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read setting: %w", err)
	}
	return strings.Join(strings.Fields(string(b)), " "), nil
}

func writeSysctl(key, value string) error {
	f, err := os.OpenFile(sysctlRoot+key, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("change setting (is /proc/sys writable?): %w", err)
	}
	_, err = f.WriteString(value)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("change setting to %q: %w", value, err)
	}
	return nil
}
