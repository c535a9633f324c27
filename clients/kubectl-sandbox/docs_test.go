package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"sandbox-apiserver.local/clients/go/sandboxtest"
)

// The page promises that its commands work: so they are run as they are printed.
func TestTheDocumentedCommands(t *testing.T) {
	page, err := os.ReadFile("../../docs/kubectl-sandbox.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range strings.Split(string(page), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		script.WriteString(block)
	}
	for _, verb := range []string{"run", "claim", "release", "exec", "logs", "cp", "suspend", "resume", "restart", "top", "tree", "doctor"} {
		if !strings.Contains(script.String(), "kubectl sandbox "+verb+" ") && !strings.Contains(script.String(), "kubectl sandbox "+verb+"\n") {
			t.Errorf("the page shows no %s", verb)
		}
	}
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 2)
	// As a reader has it: the namespace is that of the context.
	config, err := clientcmd.LoadFromFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts[config.CurrentContext].Namespace = ns
	home := t.TempDir()
	kubeconfig := filepath.Join(home, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(mustLook(t, kubectl), filepath.Join(home, "kubectl")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*sandboxtest.Patience)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-eux")
	shell.Dir, shell.Stdin = home, strings.NewReader(script.String())
	shell.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+home+string(os.PathListSeparator)+path)
	out, err := shell.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "\n42\n") {
		t.Errorf("the first command did not say 42:\n%s", out)
	}
}

func mustLook(t *testing.T, program string) string {
	t.Helper()
	found, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(found)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}
