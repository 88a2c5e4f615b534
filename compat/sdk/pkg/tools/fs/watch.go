// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// WatchFile sends the content of filePath once at the start and then after
// every change, until ctx is done; then the channel is closed. It sends nil
// while the file does not exist. The directory is what is watched (and made, if
// it is missing), so a file that is replaced by a rename or behind a symbolic
// link, as Kubernetes replaces a mounted ConfigMap, is noticed too.
func WatchFile(ctx context.Context, filePath string) <-chan []byte {
	out := make(chan []byte)
	logger := log.FromContext(ctx).WithField("watch", filePath)

	dir := filepath.Dir(filePath)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		logger.Errorf("watch file: %v", err)
		close(out)
		return out
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(dir); err != nil {
			_ = watcher.Close()
		}
	}
	if err != nil {
		logger.Errorf("watch file: %v", err)
		close(out)
		return out
	}

	go func() {
		defer close(out)
		defer func() { _ = watcher.Close() }()

		var last []byte
		for first := true; ; first = false {
			content := read(filePath)
			if first || !same(content, last) {
				select {
				case out <- content:
					last = content
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case err := <-watcher.Errors:
				logger.Errorf("watch file: %v", err)
			case <-watcher.Events:
			}
		}
	}()
	return out
}

// read returns nil if there is no file, and an empty slice if it is empty.
func read(path string) []byte {
	content, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil
	}
	return content
}

func same(a, b []byte) bool {
	return (a == nil) == (b == nil) && bytes.Equal(a, b)
}
