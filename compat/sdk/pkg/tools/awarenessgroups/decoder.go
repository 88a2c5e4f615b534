// SPDX-License-Identifier: Apache-2.0

// Package awarenessgroups reads which network services of one client must not
// share addresses.
package awarenessgroups

import (
	"fmt"
	"net/url"
	"strings"
)

// Decoder is an envconfig decoder of groups of network service URLs, written
// [url,url],[url].
type Decoder [][]*url.URL

// Decode replaces the groups by those in value.
func (d *Decoder) Decode(value string) error {
	var groups [][]*url.URL
	rest := strings.TrimSpace(value)
	for rest != "" {
		if rest[0] != '[' {
			return fmt.Errorf("decode awareness groups: want '[' at %q", rest)
		}
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return fmt.Errorf("decode awareness groups: no ']' after %q", rest)
		}
		group, err := decodeGroup(rest[1:end])
		if err != nil {
			return err
		}
		groups = append(groups, group)
		rest = strings.TrimSpace(rest[end+1:])
		if rest == "" {
			break
		}
		if rest[0] != ',' || strings.TrimSpace(rest[1:]) == "" {
			return fmt.Errorf("decode awareness groups: want ',' and a group at %q", rest)
		}
		rest = strings.TrimSpace(rest[1:])
	}
	*d = groups
	return nil
}

func decodeGroup(text string) ([]*url.URL, error) {
	var group []*url.URL
	for _, item := range strings.Split(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" || strings.ContainsRune(item, '[') {
			return nil, fmt.Errorf("decode awareness groups: bad group [%s]", text)
		}
		u, err := url.Parse(item)
		if err != nil {
			return nil, fmt.Errorf("decode awareness groups: %w", err)
		}
		group = append(group, u)
	}
	return group, nil
}
