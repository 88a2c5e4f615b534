// SPDX-License-Identifier: Apache-2.0

// Package resolvconf points a pod's resolver at a name server in the pod, and back.
//
// What the file said before is kept in comments of the file itself: the file belongs to
// the pod and outlives the container that changed it, so that whoever comes next can
// put it back, even after a SIGKILL. It is written in place, because in a container it
// is a mount of its own that cannot be replaced.
package resolvconf

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Path of the resolver's configuration, see resolv.conf(5).
const Path = "/etc/resolv.conf"

const (
	headline = "# Names are resolved by the pod's NSM client. What stood here before:\n"
	saved    = "#nsm# "
	// maxSearch is how many search domains every resolver takes.
	maxSearch = 6
)

// Redirection is a file that points at a server of ours until Restore.
type Redirection struct {
	path     string
	server   netip.Addr
	original []byte
}

// Redirect makes the file name server as its only name server; other lines stay. A
// redirection that a killed process left is undone first.
func Redirect(path string, server netip.Addr) (*Redirection, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("redirect names to %s: %w", server, err)
	}
	if before, redirected := unwrap(content); redirected {
		content = before
	}
	r := &Redirection{path: path, server: server, original: content}
	if err := r.Search(nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Search puts domains in front of those that the file had before.
func (r *Redirection) Search(domains []string) error {
	if err := overwrite(r.path, wrap(r.original, r.server, domains)); err != nil {
		return fmt.Errorf("redirect names to %s: %w", r.server, err)
	}
	return nil
}

// Servers are the name servers that the file had before, in their order.
func (r *Redirection) Servers() []netip.Addr {
	var servers []netip.Addr
	for _, words := range lines(r.original) {
		if words[0] != "nameserver" || len(words) < 2 {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err == nil {
			servers = append(servers, addr)
		}
	}
	return servers
}

// Restore puts back what the file said before, unless somebody else has written it
// since.
func (r *Redirection) Restore() error {
	_, err := Restore(r.path)
	return err
}

// Restore undoes a redirection of the file, whichever process made it; restored tells
// whether there was one.
func Restore(path string) (restored bool, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("restore names: %w", err)
	}
	before, redirected := unwrap(content)
	if !redirected {
		return false, nil
	}
	if err := overwrite(path, before); err != nil {
		return false, fmt.Errorf("restore names: %w", err)
	}
	return true, nil
}

func wrap(original []byte, server netip.Addr, domains []string) []byte {
	var out bytes.Buffer
	out.WriteString(headline)
	for line := range bytes.SplitSeq(original, []byte("\n")) {
		out.WriteString(saved)
		out.Write(line)
		out.WriteByte('\n')
	}
	_, _ = fmt.Fprintf(&out, "nameserver %s\n", server)
	search := slices.Clone(domains)
	for _, words := range lines(original) {
		switch words[0] {
		case "nameserver":
		case "search", "domain":
			// The last such line counts.
			search = append(slices.Clone(domains), words[1:]...)
		default:
			out.WriteString(strings.Join(words, " ") + "\n")
		}
	}
	if len(search) > 0 {
		_, _ = fmt.Fprintf(&out, "search %s\n", strings.Join(unique(search, maxSearch), " "))
	}
	return out.Bytes()
}

func unwrap(content []byte) (original []byte, redirected bool) {
	rest, redirected := bytes.CutPrefix(content, []byte(headline))
	if !redirected {
		return nil, false
	}
	var kept [][]byte
	for line := range bytes.SplitSeq(rest, []byte("\n")) {
		before, isSaved := bytes.CutPrefix(line, []byte(saved))
		if !isSaved {
			break
		}
		kept = append(kept, before)
	}
	return bytes.Join(kept, []byte("\n")), true
}

// lines returns the words of each line that says something.
func lines(content []byte) (all [][]string) {
	for line := range strings.Lines(string(content)) {
		words := strings.Fields(line)
		if len(words) > 0 && words[0][0] != '#' && words[0][0] != ';' {
			all = append(all, words)
		}
	}
	return all
}

func unique(words []string, limit int) (first []string) {
	for _, word := range words {
		if !slices.Contains(first, word) && len(first) < limit {
			first = append(first, word)
		}
	}
	return first
}

// overwrite replaces the contents in one write, so that a reader sees the old or the
// new beginning; what is too much is cut off after it.
func overwrite(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(content, 0)
	if err == nil {
		err = file.Truncate(int64(len(content)))
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}
