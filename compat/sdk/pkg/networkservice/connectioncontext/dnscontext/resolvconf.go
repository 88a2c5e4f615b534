// SPDX-License-Identifier: Apache-2.0

package dnscontext

import (
	"fmt"
	"os"
	"strings"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// resolvConf is a resolver's configuration, see resolv.conf(5), as it was found.
type resolvConf struct {
	path    string
	content string
	mode    os.FileMode
}

// restored marks where, in a file that was left behind by a process that could
// not restore it, the original follows.
const restored = "# before networkservicemesh: "

// readResolvConf reads the file, or what it was before one of us changed it.
func readResolvConf(path string) (*resolvConf, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read resolver configuration: %w", err)
	}
	content, err := os.ReadFile(path) //nolint:gosec // the path is configuration
	if err != nil {
		return nil, fmt.Errorf("read resolver configuration: %w", err)
	}
	file := &resolvConf{path: path, content: string(content), mode: info.Mode().Perm()}
	if _, before, found := strings.Cut(file.content, "\n"+restored); found {
		file.content = strings.ReplaceAll(before, "\n"+restored, "\n")
	}
	return file, nil
}

// values returns the arguments of all lines with the keyword.
func (r *resolvConf) values(keyword string) []string {
	var values []string
	for _, line := range strings.Split(r.content, "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == keyword {
			values = append(values, fields[1:]...)
		}
	}
	return values
}

func (r *resolvConf) config() *networkservice.DNSConfig {
	return &networkservice.DNSConfig{
		DnsServerIps:  r.values("nameserver"),
		SearchDomains: r.values("search"),
	}
}

// redirect makes nameServer the only name server. The file is written in place:
// in containers it is a mount and cannot be replaced.
func (r *resolvConf) redirect(nameServer string) error {
	lines := []string{"nameserver " + nameServer}
	for _, keyword := range []string{"search", "options"} {
		if values := r.values(keyword); len(values) > 0 {
			lines = append(lines, keyword+" "+strings.Join(values, " "))
		}
	}
	for _, line := range strings.Split(r.content, "\n") {
		lines = append(lines, restored+line)
	}
	return r.write(strings.Join(lines, "\n"))
}

func (r *resolvConf) restore() error { return r.write(r.content) }

func (r *resolvConf) write(content string) error {
	if err := os.WriteFile(r.path, []byte(content), r.mode); err != nil {
		return fmt.Errorf("write resolver configuration: %w", err)
	}
	return nil
}
