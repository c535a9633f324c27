//go:build tools

// Package tools pins the reference aggregated server that differential tests build.
package tools

import _ "k8s.io/sample-apiserver"
