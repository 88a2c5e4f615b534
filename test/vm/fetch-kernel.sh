#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# fetch-kernel.sh puts Debian's kernel and its network modules where test/vm
# looks for them. The kernel's package is unpacked there, not installed: the
# machine's own boot is none of our business.
set -eu

to=${XDG_CACHE_HOME:-$HOME/.cache}/nsm-forwarder-vm
if [ "$(dpkg --print-architecture)" != amd64 ]; then
	echo "fetch-kernel.sh: virtual machines are for amd64 only, test/vm will be skipped"
	exit 0
fi
# The metapackage names the newest kernel of the release. It is not the cloud
# one, which cannot mount the host's files (9p).
package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
if [ -z "$package" ]; then
	echo "fetch-kernel.sh: apt knows no linux-image-amd64, test/vm will be skipped"
	exit 0
fi
[ -e "$to/$package/complete" ] && exit 0

echo "unpacking $package for test/vm"
mkdir -p "$to"
work=$(mktemp -d "$to/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
# A package list older than the archive names a file that is gone.
(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") || {
	echo "fetch-kernel.sh: cannot download $package; apt-get update may help; test/vm will be skipped"
	exit 0
}
mkdir "$work/kernel"
dpkg-deb --fsys-tarfile "$work/$package"_*.deb |
	tar -x -C "$work/kernel" --wildcards --no-wildcards-match-slash './boot/vmlinuz-*' \
		'./lib/modules/*/kernel/arch/x86/crypto' './lib/modules/*/kernel/crypto' \
		'./lib/modules/*/kernel/lib' './lib/modules/*/kernel/net' \
		'./lib/modules/*/kernel/drivers/net/*.ko*' \
		'./lib/modules/*/kernel/drivers/net/vxlan' './lib/modules/*/kernel/drivers/net/wireguard' \
		'./lib/modules/*/kernel/drivers/char/virtio_console.ko*' './lib/modules/*/kernel/drivers/virtio' \
		'./lib/modules/*/kernel/fs/9p' './lib/modules/*/kernel/fs/fscache' \
		'./lib/modules/*/kernel/fs/netfs' './lib/modules/*/kernel/fs/overlayfs'
touch "$work/kernel/complete"
rm -rf "${to:?}/$package"
mv "$work/kernel" "$to/$package"
# Only the newest is of use.
find "$to" -mindepth 1 -maxdepth 1 ! -name "$package" -exec rm -rf {} +
trap - EXIT
