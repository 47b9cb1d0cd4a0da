// Package api is the Runner API in Go: types, client and server stubs, all generated from openapi.yaml, which is the
// protocol's only description. Change it there and run go generate.
package api

import _ "embed"

//go:generate go tool oapi-codegen -config config.yaml openapi.yaml

// Document is openapi.yaml, for servers that show the protocol they speak.
//
//go:embed openapi.yaml
var Document []byte
