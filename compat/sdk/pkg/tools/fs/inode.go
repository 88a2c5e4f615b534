// SPDX-License-Identifier: Apache-2.0

package fs

import (
	"fmt"
	"os"
	"syscall"
)

// GetInode returns the inode number of file, following symbolic links.
func GetInode(file string) (uintptr, error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, fmt.Errorf("read inode: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("read inode of %s: the file system has none", file)
	}
	return uintptr(stat.Ino), nil
}
