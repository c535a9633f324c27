package suite

import (
	"net/http"
	"testing"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// A wait that is not fulfilled ends with our own answer, not with that of the front, whose deadline is
// the same parameter; what was asked goes on.
func TestWaitEndsTyped(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "stuck", cluster.Suspended, withImage("docker.io/local/nothing:1"))
	waitSuspended(t, ns, "stuck")
	mustFail(t, act(t, admin, ns, "stuck", "resume", "wait=true&timeout=2s"), http.StatusGatewayTimeout, "Timeout",
		`Timeout: Sandbox "stuck" did not become Ready within 2s; the request was accepted and goes on`)
	get(t, cluster.Pods, ns, "stuck")
}
