package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

var (
	cluster *sandboxtest.Cluster
	kubectl string
	// path has the plugin on it.
	path string
)

func TestMain(m *testing.M) { os.Exit(prepared(m)) }

func prepared(m *testing.M) int {
	failed := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var err error
	if cluster, err = sandboxtest.Connect(); err != nil {
		return failed(err)
	}
	if kubectl = os.Getenv("KUBECTL"); kubectl == "" {
		kubectl = "kubectl"
	}
	directory, err := os.MkdirTemp("", "kubectl-sandbox")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(directory)
	build := exec.Command("go", "build", "-o", filepath.Join(directory, "kubectl-sandbox"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return failed(fmt.Errorf("%w\n%s", err, out))
	}
	// kubectl asks this one for completions.
	if err := os.Symlink("kubectl-sandbox", filepath.Join(directory, "kubectl_complete-sandbox")); err != nil {
		return failed(err)
	}
	path = directory + string(os.PathListSeparator) + os.Getenv("PATH")
	return m.Run()
}

type result struct {
	out, err string
	code     int
}

func command(ctx context.Context, stdin string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, kubectl, args...)
	cmd.Env = append(os.Environ(), "PATH="+path, "KUBECACHEDIR="+filepath.Join(os.TempDir(), "kubectl-sandbox-cache"))
	var out, failed bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &failed
	return cmd, &out, &failed
}

// run runs kubectl with the plugin.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*sandboxtest.Patience)
	defer cancel()
	cmd, out, failed := command(ctx, stdin, args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("kubectl %q: %v %v\n%s%s", args, err, ctx.Err(), out, failed)
	}
	return result{out.String(), failed.String(), cmd.ProcessState.ExitCode()}
}

// must is a run that succeeds; it returns what is on stdout.
func must(t *testing.T, args ...string) string {
	t.Helper()
	got := run(t, "", args...)
	if got.code != 0 {
		t.Fatalf("kubectl %q: exit %d\n%s%s", args, got.code, got.out, got.err)
	}
	return got.out
}

// fails is one that does not, with a text on stderr.
func fails(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	if got := run(t, "", args...); got.code != code || !strings.Contains(got.err, text) {
		t.Errorf("kubectl %q: exit %d, not %d with %q\n%s%s", args, got.code, code, text, got.out, got.err)
	}
}

func claims(t *testing.T, ns string) []v1beta1.SandboxClaim {
	t.Helper()
	list, err := cluster.Ours.SandboxV1beta1().SandboxClaims(ns).List(sandboxtest.Within(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}
