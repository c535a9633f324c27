//go:build tools

// Package tools pins kwok, the fake nodes of the scale benchmarks.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
