// SPDX-License-Identifier: Apache-2.0

package fs_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/sdk/pkg/tools/fs"
)

func next(t *testing.T, ch <-chan []byte) ([]byte, bool) {
	t.Helper()
	select {
	case content, ok := <-ch:
		return content, ok
	case <-time.After(5 * time.Second):
		require.Fail(t, "no event within 5 s")
		return nil, false
	}
}

func waitFor(t *testing.T, ch <-chan []byte, want string) {
	t.Helper()
	for {
		content, ok := next(t, ch)
		require.True(t, ok, "channel closed while waiting for %q", want)
		if content != nil && string(content) == want {
			return
		}
	}
}

func TestWatchFileFollowsTheFile(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	path := filepath.Join(t.TempDir(), "missing", "config.yaml")
	ch := fs.WatchFile(ctx, path)

	content, ok := next(t, ch)
	require.True(t, ok)
	require.Nil(t, content, "a file that does not exist is reported as nil")

	require.NoError(t, os.WriteFile(path, []byte("one"), 0o600))
	waitFor(t, ch, "one")

	other := path + ".new"
	require.NoError(t, os.WriteFile(other, []byte("two"), 0o600))
	require.NoError(t, os.Rename(other, path))
	waitFor(t, ch, "two")

	require.NoError(t, os.Remove(path))
	content, ok = next(t, ch)
	require.True(t, ok)
	require.Nil(t, content)

	cancel()
	for ok {
		_, ok = next(t, ch)
	}
}

func TestGetInode(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	require.NoError(t, os.WriteFile(a, nil, 0o600))
	require.NoError(t, os.Link(a, b))

	inodeA, err := fs.GetInode(a)
	require.NoError(t, err)
	inodeB, err := fs.GetInode(b)
	require.NoError(t, err)
	require.NotZero(t, inodeA)
	require.Equal(t, inodeA, inodeB)

	_, err = fs.GetInode(filepath.Join(dir, "c"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
