// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

func TestThreeWaysToNameAFileAgree(t *testing.T) {
	target := tempFile(t, "")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	byName, err := FilenameToURL(link)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	byFile, err := FileToURL(file)
	if err != nil {
		t.Fatal(err)
	}
	byFD, err := FDToURL(file.Fd())
	if err != nil {
		t.Fatal(err)
	}
	if byName.String() != byFile.String() || byFile.String() != byFD.String() {
		t.Fatalf("by name %s, by file %s, by descriptor %s", byName, byFile, byFD)
	}
	want, err := inodeOf(file.Fd())
	if err != nil {
		t.Fatal(err)
	}
	dev, ino, err := URLStringToDevIno(byName.String())
	if err != nil || dev != want.dev || ino != want.ino {
		t.Fatalf("URLStringToDevIno(%s) = %d, %d, %v; want %d, %d", byName, dev, ino, err, want.dev, want.ino)
	}
}

func TestBadInodeURLsAreErrors(t *testing.T) {
	for _, bad := range []string{
		"", "inode", "inode://", "inode://1", "inode:///2", "inode://a/2", "inode://1/b",
		"inode://-1/2", "inode://1/2/3", "inode://1/18446744073709551616", "file://1/2", "inode://1/2 3", "://",
	} {
		if dev, ino, err := URLStringToDevIno(bad); err == nil {
			t.Errorf("URLStringToDevIno(%q) = %d, %d without an error", bad, dev, ino)
		}
	}
	if _, err := FDToURL(1 << 30); err == nil {
		t.Error("FDToURL of a closed descriptor succeeded")
	}
	if _, err := FilenameToURL("/nonexistent"); err == nil {
		t.Error("FilenameToURL of a missing file succeeded")
	}
}

func FuzzURLStringToDevIno(f *testing.F) {
	for _, seed := range []string{"inode://4/4026531840", "inode:4/5", "inode://4//5", "file:///x", "inode://[::1]:4/5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		dev, ino, err := URLStringToDevIno(s)
		if err != nil {
			return
		}
		again, err := url.Parse(inode{dev: dev, ino: ino}.url().String())
		if err != nil {
			t.Fatal(err)
		}
		if d, i, err := URLToDevIno(again); err != nil || d != dev || i != ino {
			t.Fatalf("%q gave %d/%d, which came back as %d/%d, %v", s, dev, ino, d, i, err)
		}
	})
}
