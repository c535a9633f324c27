package suite

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// kube-rs as its users have it, in both ways in which it gets to know a collection: the example fails when an event is
// missing.
func TestKubeRsFollows(t *testing.T) {
	calm(t)
	buildExample(t, "follow")
	for _, mode := range []string{"streaming-lists", "list-watch"} {
		t.Run(mode, func(t *testing.T) {
			ns := namespace(t)
			ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
			defer cancel()
			follow := exec.CommandContext(ctx, builtExample("follow"), ns, mode)
			follow.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig)
			out, err := follow.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// An agent's day with kube-rs.
func TestKubeRsUsesASandbox(t *testing.T) {
	calm(t)
	buildExample(t, "agent")
	ns := namespace(t)
	makePool(t, ns, "agents", 1, serving)
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	agent := exec.CommandContext(ctx, builtExample("agent"), ns, "agents", "8080")
	agent.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig)
	out, err := agent.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mustContain(t, "agent", string(out), "(Some(Warm))", "its log has 1 lines")
	if left := send(t, admin, http.MethodGet, groupVersion+"/namespaces/"+ns+"/sandboxclaims", "", "").object(t)["items"].([]any); len(left) != 0 {
		t.Errorf("claims are left: %s", show(left))
	}
}

func buildExample(t *testing.T, name string) {
	t.Helper()
	build := exec.Command("cargo", "build", "--quiet", "--locked", "--package", "sandbox-api", "--example", name)
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
}

// builtExample of a debug build.
func builtExample(name string) string {
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		target = filepath.Join(root(), "target")
	}
	return filepath.Join(target, "debug", "examples", name)
}
