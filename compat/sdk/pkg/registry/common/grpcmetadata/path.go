// SPDX-License-Identifier: Apache-2.0

// Package grpcmetadata carries the path of a registration, the tokens of the
// processes that it went through, beside the gRPC call: as JSON in the metadata
// key "path", in requests and in the headers of replies.
package grpcmetadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/metadata"
)

// metadataKey of the path; part of the protocol.
const metadataKey = "path"

// Path is the way of a registration. Index is the segment of the process that
// has it at the moment.
type Path struct {
	Index        uint32
	PathSegments []*PathSegment
}

// PathSegment is one process on the way.
type PathSegment struct {
	Token string `json:"token"`
}

// GetCurrentPathSegment returns the segment at Index, or nil.
func (p *Path) GetCurrentPathSegment() *PathSegment {
	if p == nil || int(p.Index) >= len(p.PathSegments) {
		return nil
	}
	return p.PathSegments[p.Index]
}

// Clone returns a deep copy.
func (p *Path) Clone() *Path {
	clone := &Path{Index: p.Index}
	for _, segment := range p.PathSegments {
		clone.PathSegments = append(clone.PathSegments, &PathSegment{Token: segment.Token})
	}
	return clone
}

type pathKey struct{}

// PathFromContext returns the path in ctx, or an empty one.
func PathFromContext(ctx context.Context) *Path {
	if path, ok := ctx.Value(pathKey{}).(*Path); ok {
		return path
	}
	return new(Path)
}

// PathWithContext returns ctx with path in it.
func PathWithContext(ctx context.Context, path *Path) context.Context {
	return context.WithValue(ctx, pathKey{}, path)
}

func encode(path *Path) (string, error) {
	text, err := json.Marshal(path)
	if err != nil {
		return "", fmt.Errorf("encode path: %w", err)
	}
	return string(text), nil
}

// decode takes the last value, as gRPC's own readers of single values do.
func decode(md metadata.MD) (*Path, error) {
	values := md.Get(metadataKey)
	if len(values) == 0 {
		return nil, errors.New("the call carries no path in its metadata")
	}
	path := new(Path)
	if err := json.Unmarshal([]byte(values[len(values)-1]), path); err != nil {
		return nil, fmt.Errorf("decode path: %w", err)
	}
	for _, segment := range path.PathSegments {
		if segment == nil {
			return nil, errors.New("decode path: a segment is null")
		}
	}
	return path, nil
}
