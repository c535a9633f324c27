package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/clients/go/sandbox"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

// day is what the documentation shows.
func day(ctx context.Context, config *rest.Config, namespace string) (string, error) {
	client, err := sandbox.New(config, namespace)
	if err != nil {
		return "", err
	}
	claim, err := client.Claim(ctx, "agents", nil, sandbox.ClaimOptions{Ready: &sandbox.Wait{Timeout: 30 * time.Second}})
	if sandbox.IsPoolExhausted(err) {
		return "", fmt.Errorf("come back later: %w", err)
	} else if err != nil {
		return "", err
	}
	defer client.Release(context.WithoutCancel(ctx), claim.Name)

	var out bytes.Buffer
	box := sandbox.Claimed(claim.Name)
	err = client.Exec(ctx, box, []string{"sh", "-c", "echo $((6 * 7))"}, sandbox.ExecOptions{Stdout: &out})
	if err != nil {
		return "", err
	}
	forward, err := client.PortForward(ctx, box, ":8080")
	if err != nil {
		return "", err
	}
	defer forward.Close()
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", forward.Ports[0].Local))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	return out.String() + string(page), err
}

func TestTheDocumentedDay(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	said, err := day(sandboxtest.Within(t), cluster.Admin, ns)
	if err != nil || said != "42\npage\n" {
		t.Errorf("%q %v", said, err)
	}
}

func TestTheDocumentationShowsIt(t *testing.T) {
	page, err := os.ReadFile("../../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the page shows no Go")
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		var lines strings.Builder
		for line := range strings.Lines(block) {
			if line != "\n" {
				lines.WriteString("\t")
			}
			lines.WriteString(line)
		}
		if !strings.Contains(string(source), lines.String()) {
			t.Errorf("not in the example:\n%s", block)
		}
	}
}
