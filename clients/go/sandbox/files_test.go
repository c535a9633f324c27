package sandbox_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/util/exec"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/sandbox"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

func TestFiles(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	ctx := sandboxtest.Within(t)
	client := client(t, cluster.Admin, ns)
	claim, err := client.Claim(ctx, "agents", &v1beta1.SandboxClaim{}, sandbox.ClaimOptions{Ready: &sandbox.Wait{}})
	if err != nil {
		t.Fatal(err)
	}
	box := sandbox.Claimed(claim.Name)
	said := func(command string) string {
		var out bytes.Buffer
		err := client.Exec(ctx, box, []string{"sh", "-c", command + " 2>&1"}, sandbox.ExecOptions{Stdout: &out})
		if err != nil && !errors.As(err, &exec.CodeExitError{}) {
			t.Fatal(err)
		}
		return strings.TrimSpace(out.String())
	}
	local := t.TempDir()
	tree := filepath.Join(local, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "deep", "er"), 0o755); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for name, content := range map[string][]byte{"a file": []byte("text"), "deep/er/large": large, "empty": nil} {
		if err := os.WriteFile(filepath.Join(tree, filepath.FromSlash(name)), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	var skipped []string
	var passed int64
	options := sandbox.CopyOptions{
		Skipped:  func(path, _ string) { skipped = append(skipped, filepath.Base(path)) },
		Progress: func(bytes int64) { passed = bytes },
	}
	// Under a new name, and into a directory that is there.
	for remote, at := range map[string]string{"/tmp/renamed": "/tmp/renamed", "/tmp": "/tmp/tree", "/tmp/renamed/": "/tmp/renamed/tree"} {
		skipped, passed = nil, 0
		if remote == "/tmp/renamed/" {
			said("mkdir -p /tmp/renamed")
		}
		if err := client.Upload(ctx, box, tree, remote, options); err != nil {
			t.Fatalf("%s: %v", remote, err)
		}
		if strings.Join(skipped, " ") != "link" || passed != int64(len(large)+len("text")) {
			t.Errorf("%s: skipped %v, passed %d", remote, skipped, passed)
		}
		if got := said("cat '" + at + "/a file'; ls " + at); at != "/tmp/renamed" && got != "texta file\ndeep\nempty" {
			t.Errorf("%s: %q", remote, got)
		}
	}
	said("ln -s /etc/passwd /tmp/tree/link")
	skipped, passed = nil, 0
	back := filepath.Join(local, "back")
	if err := client.Download(ctx, box, "/tmp/tree", back, options); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(back, "deep", "er", "large"))
	if err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes came back: %v", len(got), err)
	}
	if _, err := os.Lstat(filepath.Join(back, "link")); !os.IsNotExist(err) || strings.Join(skipped, " ") != "link" {
		t.Errorf("a link came back: %v %v", err, skipped)
	}
	if err := client.Download(ctx, box, "/tmp/tree/a file", local, sandbox.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(local, "a file")); string(got) != "text" {
		t.Errorf("%q %v", got, err)
	}

	if err := client.Download(ctx, box, "/tmp/absent", local, sandbox.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("absent: %v", err)
	}
	if err := client.Download(ctx, box, "/", local, sandbox.CopyOptions{}); err == nil {
		t.Error("the root was copied")
	}
	if err := client.Upload(ctx, box, tree, "/no/where/tree", sandbox.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "/no/where") {
		t.Errorf("nowhere: %v", err)
	}
	if err := client.Upload(ctx, box, filepath.Join(local, "absent"), "/tmp", sandbox.CopyOptions{}); !os.IsNotExist(err) {
		t.Errorf("a local file that is absent: %v", err)
	}
	// Nothing is sent to where it can't be put.
	endless, err := os.Create(filepath.Join(local, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(endless.Truncate(1<<40), endless.Close()); err != nil {
		t.Fatal(err)
	}
	if err := client.Upload(ctx, box, endless.Name(), "/no/where/tree", sandbox.CopyOptions{}); err == nil {
		t.Error("a terabyte went nowhere")
	}
	said("rm /bin/tar")
	for _, err := range []error{
		client.Upload(ctx, box, tree, "/tmp", sandbox.CopyOptions{}),
		client.Download(ctx, box, "/tmp/tree", back, sandbox.CopyOptions{}),
	} {
		if !errors.Is(err, sandbox.ErrNoTar) {
			t.Errorf("without tar: %v", err)
		}
	}
}

func TestAttach(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	ctx := sandboxtest.Within(t)
	client := client(t, cluster.Admin, ns)
	claim, err := client.Claim(ctx, "agents", nil, sandbox.ClaimOptions{Ready: &sandbox.Wait{}})
	if err != nil {
		t.Fatal(err)
	}
	// What it says from now on, until it ends.
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- client.Attach(ctx, sandbox.Claimed(claim.Name), sandbox.ExecOptions{Stdout: writer})
		_ = writer.Close()
	}()
	line := make(chan string, 1)
	go func() {
		buffer := make([]byte, 64)
		count, _ := reader.Read(buffer)
		line <- string(buffer[:count])
		_, _ = io.Copy(io.Discard, reader)
	}()
	sandboxtest.Eventually(t, "a line", func() (bool, string) {
		say := []string{"sh", "-c", "echo attached > /proc/1/fd/1"}
		if err := client.Exec(ctx, sandbox.Claimed(claim.Name), say, sandbox.ExecOptions{Stdout: io.Discard}); err != nil {
			return false, err.Error()
		}
		select {
		case got := <-line:
			return strings.HasPrefix(got, "attached"), got
		default:
			return false, "nothing"
		}
	})
	if _, err := client.Suspend(ctx, claim.Status.Sandbox.Name, &sandbox.Wait{}); err != nil {
		t.Fatal(err)
	}
	<-ended
}
