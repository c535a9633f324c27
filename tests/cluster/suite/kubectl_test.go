package suite

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// result of a command.
type result struct {
	stdout, stderr string
	code           int
}

// run ends the command after two minutes: a hang shall fail one test, not all.
func run(t *testing.T, stdin string, command string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.Env = append(os.Environ(), "KUBECACHEDIR="+kcache)
	cmd.Dir = root()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %s: %v", command, strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// tryKubectl hands back whatever happens.
func tryKubectl(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return run(t, stdin, env.Kubectl, args...)
}

// pipe gives kubectl a manifest and expects success.
func pipe(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	got := tryKubectl(t, stdin, args...)
	if got.code != 0 {
		t.Fatalf("kubectl %s: exit %d\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	return got.stdout
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return pipe(t, "", args...)
}

// xtask runs one of the commands that a developer has.
func xtask(t *testing.T, args ...string) {
	t.Helper()
	if got := run(t, "", env.Xtask, args...); got.code != 0 {
		t.Fatalf("xtask %s: exit %d\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
}

func mustContain(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: no %q in:\n%s", what, part, text)
		}
	}
}
