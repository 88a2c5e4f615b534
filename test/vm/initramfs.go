// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// file is an entry of an initramfs: a folder if it has no content.
type file struct {
	name    string
	mode    uint32 // as in stat(2)
	content []byte
}

const (
	folder     = 0o040755
	executable = 0o100755
	plain      = 0o100644
)

// writeInitramfs writes the files as a cpio archive in the "newc" format
// (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Folders
// come before what they hold.
func writeInitramfs(w io.Writer, files []file) error {
	for i, f := range slices.Concat(files, []file{{name: "TRAILER!!!"}}) {
		// inode, mode, uid, gid, links, mtime, size, device (4), name's length
		// with its final zero, checksum.
		header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			i+1, f.mode, 0, 0, 1, 0, len(f.content), 0, 0, 0, 0, len(f.name)+1, 0, f.name)
		for _, part := range [][]byte{[]byte(header), f.content} {
			if _, err := w.Write(slices.Concat(part, make([]byte, -len(part)&3))); err != nil {
				return fmt.Errorf("write %s to the initramfs: %w", f.name, err)
			}
		}
	}
	return nil
}

// read adds files of the host to a folder of the initramfs.
func read(into string, paths []string) ([]file, error) {
	files := []file{{name: into, mode: folder}}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{filepath.Join(into, filepath.Base(path)), plain, content})
	}
	return files, nil
}
