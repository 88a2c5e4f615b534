module github.com/networkservicemesh/api

go 1.26

require (
	github.com/pkg/errors v0.9.1
	github.com/stretchr/testify v1.12.1
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
)
