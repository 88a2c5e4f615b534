// SPDX-License-Identifier: Apache-2.0

// Package fs watches files and identifies them by inode.
package fs
