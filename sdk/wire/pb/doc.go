// Package pb is the generated code of the control plane's messages. Only
// sdk/wire imports it.
package pb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative control.proto
