// SPDX-License-Identifier: Apache-2.0

package survivors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// book is the folder in which links are written down, each in a file of its own:
// a link costs the same whether there are ten or a thousand. It is there while it
// has entries. Some hold private keys: only we can look into it.
type book string

const (
	// suffix tells entries from files that a kill left unfinished.
	suffix     = ".json"
	unfinished = ".next"

	folderMode, fileMode = 0o700, 0o600
)

// file is named by a hash: ids come from outside.
func (b book) file(id string) string {
	hash := sha256.Sum256([]byte(id))
	return filepath.Join(string(b), hex.EncodeToString(hash[:12])+suffix)
}

// read returns all entries, by connection. Files that are none are reported and
// left where they are.
func (b book) read(log *slog.Logger) (map[string]entry, error) {
	files, err := os.ReadDir(string(b))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = os.Chmod(string(b), folderMode) // an older release let others look
	}
	if err != nil {
		return nil, fmt.Errorf("read the links of an earlier run: %w", err)
	}
	all := make(map[string]entry)
	for _, f := range files {
		path := filepath.Join(string(b), f.Name())
		if strings.HasSuffix(path, unfinished) {
			_ = os.Remove(path)
			continue
		}
		e, err := b.readEntry(path, f)
		if err != nil {
			log.Warn("read a link of an earlier run; remove the file if it is not ours", "file", path, "error", err)
			continue
		}
		all[e.Connection] = e
	}
	return all, nil
}

func (b book) readEntry(path string, f os.DirEntry) (entry, error) {
	if !f.Type().IsRegular() {
		return entry{}, errors.New("not a file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return entry{}, err
	}
	e, err := parse(text)
	if err == nil && b.file(e.Connection) != path {
		err = fmt.Errorf("it should have another name, for connection %q", e.Connection)
	}
	return e, err
}

// parse reads an entry and says what is wrong with one that cannot be ours.
func parse(text []byte) (entry, error) {
	var e entry
	if err := json.Unmarshal(text, &e); err != nil {
		return entry{}, err
	}
	if err := e.check(); err != nil {
		return entry{}, err
	}
	return e, nil
}

func (b book) write(e entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write link down: %w", err)
	}
	if err := os.MkdirAll(string(b), folderMode); err != nil {
		return fmt.Errorf("write link down: %w", err)
	}
	// Renamed into place, so that a kill leaves the old file or the new one. A
	// crash of the machine takes the links as well: nothing is synced.
	path := b.file(e.Connection)
	next := strings.TrimSuffix(path, suffix) + unfinished
	if err := os.WriteFile(next, text, fileMode); err != nil {
		return errors.Join(fmt.Errorf("write link down: %w", err), removeFile(next))
	}
	if err := os.Rename(next, path); err != nil {
		return errors.Join(fmt.Errorf("write link down: %w", err), removeFile(next))
	}
	return nil
}

func (b book) strike(id string) error {
	if err := removeFile(b.file(id)); err != nil {
		return fmt.Errorf("strike out a link: %w", err)
	}
	_ = os.Remove(string(b)) // succeeds when it is empty
	return nil
}

// removeFile removes a file if it is there.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
