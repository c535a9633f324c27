//go:build tools

// Package tools pins gVisor, the user-space kernel of the isolation test.
package tools

import _ "gvisor.dev/gvisor/runsc"
