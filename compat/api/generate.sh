#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Generates the Go code of the protos next to them. Needs protoc and the protos of
# the well-known types (Debian: protobuf-compiler, libprotobuf-dev).
#
# The generator is the one that wrote gRPC stubs before protoc-gen-go-grpc: only
# it gives the identifiers that upstream exports (Register...Server with a
# *grpc.Server, servers that need not embed anything), and no others.
set -eu
cd "$(dirname "$0")"

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin GOFLAGS=-mod=mod go install github.com/golang/protobuf/protoc-gen-go@v1.5.4

for dir in networkservice registry ipam; do
	(cd "pkg/api/$dir" && protoc --plugin="$bin/protoc-gen-go" -I. -I/usr/include \
		--go_out=plugins=grpc,paths=source_relative:. ./*.proto)
done
