// SPDX-License-Identifier: Apache-2.0

package survivors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// book is the folder in which links are written down, each in a file of its own:
// a link costs the same whether there are ten or a thousand. It is there while it
// has entries.
type book string

// entry is what a file holds.
type entry struct {
	Connection string `json:"connection"`
	Interfaces ends   `json:"interfaces"`
}

// suffix tells entries from files that a kill left unfinished.
const suffix = ".json"

// file is named by a hash: ids come from outside.
func (b book) file(id string) string {
	hash := sha256.Sum256([]byte(id))
	return filepath.Join(string(b), hex.EncodeToString(hash[:12])+suffix)
}

// read returns all entries, by connection.
func (b book) read() (map[string]ends, error) {
	files, err := os.ReadDir(string(b))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the links of an earlier run: %w", err)
	}
	all := make(map[string]ends)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), suffix) {
			continue
		}
		path := filepath.Join(string(b), f.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the links of an earlier run: %w", err)
		}
		var e entry
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, fmt.Errorf("read the links of an earlier run: %s: %w; remove the file if it is not ours", path, err)
		}
		all[e.Connection] = e.Interfaces
	}
	return all, nil
}

func (b book) write(id string, all ends) error {
	text, err := json.Marshal(entry{Connection: id, Interfaces: all})
	if err != nil {
		return fmt.Errorf("write link down: %w", err)
	}
	if err := os.MkdirAll(string(b), 0o755); err != nil {
		return fmt.Errorf("write link down: %w", err)
	}
	// Renamed into place, so that a kill leaves the old file or the new one.
	next := strings.TrimSuffix(b.file(id), suffix) + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write link down: %w", err)
	}
	if err := os.Rename(next, b.file(id)); err != nil {
		return fmt.Errorf("write link down: %w", err)
	}
	return nil
}

func (b book) strike(id string) error {
	if err := os.Remove(b.file(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("strike out a link: %w", err)
	}
	_ = os.Remove(string(b)) // succeeds when it is empty
	return nil
}
