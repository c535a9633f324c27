package suite

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// kube-rs as its users have it, in both ways in which it gets to know a collection: the example fails when an event is
// missing.
func TestKubeRsFollows(t *testing.T) {
	calm(t)
	build := exec.Command("cargo", "build", "--quiet", "--locked", "--package", "sandbox-api", "--example", "follow")
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
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

// builtExample of a debug build.
func builtExample(name string) string {
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		target = filepath.Join(root(), "target")
	}
	return filepath.Join(target, "debug", "examples", name)
}
