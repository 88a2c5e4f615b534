// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const inodeScheme = "inode"

// inode identifies an open file across processes and network namespaces.
type inode struct {
	dev, ino uint64
}

func inodeOf(fd uintptr) (inode, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(fd), &stat); err != nil {
		return inode{}, fmt.Errorf("fstat descriptor %d: %w", fd, err)
	}
	return inode{dev: stat.Dev, ino: stat.Ino}, nil
}

func (i inode) url() *url.URL {
	return &url.URL{
		Scheme: inodeScheme,
		Host:   strconv.FormatUint(i.dev, 10),
		Path:   strconv.FormatUint(i.ino, 10),
	}
}

// FDToURL returns the inode://${dev}/${ino} URL of a descriptor.
func FDToURL(fd uintptr) (*url.URL, error) {
	i, err := inodeOf(fd)
	if err != nil {
		return nil, err
	}
	return i.url(), nil
}

// FileToURL is FDToURL for a file.
func FileToURL(file SyscallConn) (*url.URL, error) {
	var u *url.URL
	err := control(file, func(fd uintptr) (err error) {
		u, err = FDToURL(fd)
		return err
	})
	return u, err
}

// FilenameToURL is FDToURL for the file of that name, symbolic links followed.
func FilenameToURL(filename string) (*url.URL, error) {
	var stat unix.Stat_t
	if err := unix.Stat(filename, &stat); err != nil {
		return nil, fmt.Errorf("stat %s: %w", filename, err)
	}
	return inode{dev: stat.Dev, ino: stat.Ino}.url(), nil
}

// URLToDevIno returns the device and inode number in an inode:// URL.
func URLToDevIno(u *url.URL) (dev, ino uint64, err error) {
	if u.Scheme != inodeScheme {
		return 0, 0, fmt.Errorf("parse inode URL %s: the scheme is %q, not %q", u, u.Scheme, inodeScheme)
	}
	if dev, err = strconv.ParseUint(u.Host, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("parse device of inode URL %s: %w", u, err)
	}
	if ino, err = strconv.ParseUint(strings.TrimPrefix(u.Path, "/"), 10, 64); err != nil {
		return 0, 0, fmt.Errorf("parse inode of inode URL %s: %w", u, err)
	}
	return dev, ino, nil
}

// URLStringToDevIno is URLToDevIno for the text of a URL.
func URLStringToDevIno(urlstr string) (dev, ino uint64, err error) {
	u, err := url.Parse(urlstr)
	if err != nil {
		return 0, 0, fmt.Errorf("parse inode URL: %w", err)
	}
	return URLToDevIno(u)
}

// control runs f with the descriptor of file, which stays open meanwhile.
func control(file SyscallConn, f func(fd uintptr) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("get descriptor: %w", err)
	}
	var inner error
	if err = raw.Control(func(fd uintptr) { inner = f(fd) }); err != nil {
		return fmt.Errorf("get descriptor: %w", err)
	}
	return inner
}
