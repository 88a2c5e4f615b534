// SPDX-License-Identifier: Apache-2.0

// Package fdpass sends files to the peer of a gRPC call and keeps those that
// were received. On the wire a file is named inode://<st_dev>/<st_ino>; the
// descriptor itself travels beside the call (package grpcfd).
package fdpass

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/edwarnicke/grpcfd"
)

const inodeScheme = "inode://"

// IsInodeURL says whether a URL names a file that travels beside the call.
func IsInodeURL(u string) bool {
	return strings.HasPrefix(u, inodeScheme)
}

// Send sends the file at path and returns the URL that stands for it. It does
// not wait until the descriptor is sent, for that happens with the call.
func Send(to grpcfd.FDSender, path string) (inodeURL string, err error) {
	u, err := grpcfd.FilenameToURL(path)
	if err != nil {
		return "", fmt.Errorf("send file %s: %w", path, err)
	}
	select {
	case err := <-to.SendFilename(path):
		if err != nil {
			return "", fmt.Errorf("send file %s: %w", path, err)
		}
	default:
	}
	return u.String(), nil
}

// Files are those received for one owner: a connection or an endpoint. The same
// inode keeps the same path for as long as it is held, however often it is sent.
type Files struct {
	mu      sync.Mutex
	closed  bool
	byInode map[string]*os.File
}

// Receive returns the path of the file that inodeURL stands for. If it is not
// held already, Receive waits for it until ctx ends.
func (f *Files) Receive(ctx context.Context, inodeURL string, from grpcfd.FDRecver) (path string, err error) {
	if path, held := f.Path(inodeURL); held {
		return path, nil
	}

	coming, err := from.RecvFileByURL(inodeURL)
	if err != nil {
		return "", fmt.Errorf("receive file %s: %w", inodeURL, err)
	}
	select {
	case file, ok := <-coming:
		if !ok {
			return "", fmt.Errorf("receive file %s: the connection was closed", inodeURL)
		}
		return f.keep(inodeURL, file)
	case <-ctx.Done():
		// It may still come: nobody would close it then.
		go func() {
			if file, ok := <-coming; ok {
				_ = file.Close()
			}
		}()
		return "", fmt.Errorf("receive file %s: the peer did not send it: %w", inodeURL, ctx.Err())
	}
}

func (f *Files) keep(inodeURL string, file *os.File) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		_ = file.Close()
		return "", fmt.Errorf("receive file %s: its owner was closed", inodeURL)
	}
	if held := f.byInode[inodeURL]; held != nil { // came twice at the same time
		_ = file.Close()
		return held.Name(), nil
	}
	if f.byInode == nil {
		f.byInode = make(map[string]*os.File)
	}
	f.byInode[inodeURL] = file
	return file.Name(), nil
}

// Path returns the path of the file that inodeURL stands for, if it is held.
func (f *Files) Path(inodeURL string) (path string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.byInode[inodeURL]; file != nil {
		return file.Name(), true
	}
	return "", false
}

// InodeURL returns the URL of the file that is held under path.
func (f *Files) InodeURL(path string) (inodeURL string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for inodeURL, file := range f.byInode {
		if file.Name() == path {
			return inodeURL, true
		}
	}
	return "", false
}

// KeepOnly closes all files but the one that inodeURL stands for.
func (f *Files) KeepOnly(inodeURL string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for u, file := range f.byInode {
		if u != inodeURL {
			_ = file.Close()
			delete(f.byInode, u)
		}
	}
}

// unlinked says whether none of the files has a name any more: the process that
// made them is gone.
func (f *Files) unlinked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.byInode {
		var stat unix.Stat_t
		if unix.Fstat(int(file.Fd()), &stat) != nil || stat.Nlink > 0 {
			return false
		}
	}
	return len(f.byInode) > 0
}

func (f *Files) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, file := range f.byInode {
		_ = file.Close()
	}
	f.byInode = nil
}

// Table has the Files of each owner. The zero value is empty.
type Table struct {
	mu     sync.Mutex
	owners map[string]*Files
}

// Of returns the files of owner, and whether it had some before.
func (t *Table) Of(owner string) (files *Files, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if files = t.owners[owner]; files != nil {
		return files, true
	}
	if t.owners == nil {
		t.owners = make(map[string]*Files)
	}
	files = new(Files)
	t.owners[owner] = files
	return files, false
}

// Rename gives the files of one owner to another; that one's own are closed.
func (t *Table) Rename(from, to string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	files := t.owners[from]
	if files == nil || from == to {
		return
	}
	if old := t.owners[to]; old != nil {
		old.close()
	}
	t.owners[to] = files
	delete(t.owners, from)
}

// Close closes the files of owner.
func (t *Table) Close(owner string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if files := t.owners[owner]; files != nil {
		files.close()
		delete(t.owners, owner)
	}
}

// CloseUnlinked closes the files of owners none of whose files has a name any
// more in the file system.
func (t *Table) CloseUnlinked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for owner, files := range t.owners {
		if files.unlinked() {
			files.close()
			delete(t.owners, owner)
		}
	}
}
