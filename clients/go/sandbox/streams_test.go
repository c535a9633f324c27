package sandbox_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/exec"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/sandbox"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

func TestStreams(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	ctx := sandboxtest.Within(t)
	claim, err := client(t, cluster.Admin, ns).Claim(ctx, "agents", &v1beta1.SandboxClaim{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, sandbox.ClaimOptions{Ready: &sandbox.Wait{}})
	if err != nil {
		t.Fatal(err)
	}
	name := claim.Status.Sandbox.Name
	// Rights on Pods are not among them.
	config := user(t, ns, "streamer", rbacv1.PolicyRule{
		APIGroups: []string{v1beta1.GroupName}, Verbs: []string{"create", "get"},
		Resources: []string{
			"sandboxes/exec", "sandboxes/portforward", "sandboxes/log", "sandboxes/suspend", "sandboxes/resume",
			"sandboxes/restart", "sandboxclaims/exec", "sandboxclaims/log",
		},
	})
	streamer := client(t, config, ns)
	sandboxtest.Eventually(t, "right", func() (bool, string) {
		err := streamer.Exec(ctx, sandbox.Named(name), []string{"true"}, sandbox.ExecOptions{Stdout: io.Discard})
		return err == nil, errorText(err)
	})

	for what, target := range map[string]sandbox.Target{"Sandbox": sandbox.Named(name), "claim": sandbox.Claimed("mine")} {
		var out, failed bytes.Buffer
		err := streamer.Exec(ctx, target, []string{"sh", "-c", "cat; echo oh >&2; exit 7"}, sandbox.ExecOptions{
			Stdin: strings.NewReader("to and fro"), Stdout: &out, Stderr: &failed,
		})
		var code exec.CodeExitError
		if !errors.As(err, &code) || code.Code != 7 || out.String() != "to and fro" || failed.String() != "oh\n" {
			t.Errorf("%s: %v %q %q", what, err, out.String(), failed.String())
		}
		log, err := streamer.Logs(ctx, target, &corev1.PodLogOptions{TailLines: new(int64(1))})
		if err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(log).ReadString('\n')
		if _ = log.Close(); line != "started\n" {
			t.Errorf("%s: log %q", what, line)
		}
	}
	var terminal bytes.Buffer
	if err := streamer.Exec(ctx, sandbox.Named(name), []string{"tty"}, sandbox.ExecOptions{Stdout: &terminal, TTY: true}); err != nil || !strings.HasPrefix(terminal.String(), "/dev/") {
		t.Errorf("a terminal: %q %v", terminal.String(), err)
	}
	if err := streamer.Exec(ctx, sandbox.Named("absent"), []string{"true"}, sandbox.ExecOptions{Stdout: io.Discard}); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("absent: %v", err)
	}
	if err := streamer.Exec(ctx, sandbox.Named(name), nil, sandbox.ExecOptions{}); err == nil {
		t.Error("no command was run")
	}

	forward, err := streamer.PortForward(ctx, sandbox.Named(name), ":8080")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", forward.Ports[0].Local))
		if err != nil {
			t.Fatal(err)
		}
		page, _ := io.ReadAll(answer.Body)
		if _ = answer.Body.Close(); string(page) != "page\n" {
			t.Errorf("%q", page)
		}
	}
	if first, second := forward.Close(), forward.Close(); first != nil || second != nil {
		t.Error(first, second)
	}

	asleep, err := streamer.Suspend(ctx, name, &sandbox.Wait{})
	if err != nil || asleep.Status.Phase != v1beta1.SandboxSuspended {
		t.Fatalf("%+v %v", asleep, err)
	}
	awake, err := streamer.Resume(ctx, name, &sandbox.Wait{})
	if err != nil || awake.Status.Phase != v1beta1.SandboxRunning {
		t.Fatalf("%+v %v", awake, err)
	}
	if again, err := streamer.Restart(ctx, name); err != nil || again.Name != name {
		t.Errorf("%+v %v", again, err)
	}
	if _, err := streamer.Suspend(ctx, "absent", nil); !apierrors.IsNotFound(err) {
		t.Errorf("%v", err)
	}
}
