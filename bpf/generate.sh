#!/bin/sh
# SPDX-License-Identifier: Apache-2.0

# Compiles the classifier into the object files and Go code of pkg/classifier, in
# the folder given. The result depends on nothing but the sources and the
# compiler: CI runs this with Debian 12's clang-14 and compares.
set -eu

out=$(realpath "$1")
cd "$(dirname "$0")/../pkg/classifier"

# The kernel's headers of a Debian multiarch system.
include=/usr/include/$(uname -m)-linux-gnu

exec go run github.com/cilium/ebpf/cmd/bpf2go \
	-cc "${CLANG:-clang-14}" -strip "${LLVM_STRIP:-llvm-strip-14}" \
	-target bpfel,bpfeb -go-package classifier -output-dir "$out" \
	-type reason -type scope \
	bpf ../../bpf/classifier.bpf.c -- \
	-O2 -mcpu=v3 -Wall -Wextra -Werror -I"$include"
