package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// serving writes a line to its log, serves a page on port 8080, and ends at once on SIGTERM.
func serving(spec map[string]any) {
	script := "echo started; mkdir -p /tmp/www; echo page > /tmp/www/index.html; httpd -p 8080 -h /tmp/www; " +
		"trap 'exit 0' TERM; while :; do sleep 1 & wait; done"
	pod := spec["podTemplate"].(map[string]any)["spec"].(map[string]any)
	pod["containers"].([]any)[0].(map[string]any)["command"] = []any{"sh", "-c", script}
}

func streamURL(t *testing.T, config *rest.Config, ns, name, stream string, query url.Values) *url.URL {
	t.Helper()
	return urlOf(t, config, sandboxPath(ns, name)+"/"+stream, query)
}

func urlOf(t *testing.T, config *rest.Config, path string, query url.Values) *url.URL {
	t.Helper()
	at, err := url.Parse(config.Host + path)
	if err != nil {
		t.Fatal(err)
	}
	at.RawQuery = query.Encode()
	return at
}

// executor speaks WebSocket with GET or SPDY with POST, as kubectl does.
func executor(t *testing.T, config *rest.Config, protocol string, at *url.URL) remotecommand.Executor {
	t.Helper()
	var made remotecommand.Executor
	var err error
	if protocol == "WebSocket" {
		made, err = remotecommand.NewWebSocketExecutor(config, http.MethodGet, at.String())
	} else {
		made, err = remotecommand.NewSPDYExecutor(config, http.MethodPost, at)
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func execute(t *testing.T, config *rest.Config, protocol, ns, name, stdin string, command ...string) (stdout, stderr string, err error) {
	t.Helper()
	return executeAt(t, config, protocol, sandboxPath(ns, name), stdin, command...)
}

// executeAt the path of a Sandbox or of a claim.
func executeAt(t *testing.T, config *rest.Config, protocol, path, stdin string, command ...string) (stdout, stderr string, err error) {
	t.Helper()
	query := url.Values{"command": command, "stdout": {"true"}, "stderr": {"true"}}
	var out, errors bytes.Buffer
	options := remotecommand.StreamOptions{Stdout: &out, Stderr: &errors}
	if stdin != "" {
		query.Set("stdin", "true")
		options.Stdin = strings.NewReader(stdin)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = executor(t, config, protocol, urlOf(t, config, path+"/exec", query)).StreamWithContext(ctx, options)
	return out.String(), errors.String(), err
}

// bindRule gives the user NAME-of-NS these verbs on these resources of ours.
func bindRule(t *testing.T, ns, name string, resources []string, verbs ...string) {
	t.Helper()
	_, err := core.RbacV1().Roles(ns).Create(context.Background(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{cluster.Group}, Resources: resources, Verbs: verbs}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bindUser(t, ns, "Role", name, name+"-of-"+ns)
}

// streamer makes a user with these verbs on one stream, and nothing else anywhere.
func streamer(t *testing.T, ns, name, stream string, verbs ...string) *rest.Config {
	t.Helper()
	bindRule(t, ns, name, []string{"sandboxes/" + stream}, verbs...)
	config := user(t, name+"-of-"+ns)
	method := map[string]string{"get": http.MethodGet, "create": http.MethodPost}[verbs[0]]
	want := map[bool]int{true: http.StatusForbidden, false: http.StatusBadRequest}
	eventually(t, "right of "+name, patience, func() (bool, string) {
		// Neither exists nor upgrades: all that counts is who says no, and to what.
		got := send(t, config, method, sandboxPath(ns, "absent")+"/"+stream, "", "")
		message, _ := got.status()
		ours := strings.Contains(message, "cannot create") && verbs[0] == "get" && len(verbs) == 1
		return got.code == want[ours] || got.code == http.StatusNotFound, got.body
	})
	return config
}

func TestExec(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box", serving)
	waitReady(t, ns, "box")
	both := streamer(t, ns, "both", "exec", "create", "get")
	poster := streamer(t, ns, "poster", "exec", "create")
	reader := streamer(t, ns, "reader", "exec", "get")

	for _, protocol := range []string{"WebSocket", "SPDY"} {
		t.Run(protocol, func(t *testing.T) {
			out, errs, err := execute(t, both, protocol, ns, "box", "", "sh", "-c", "echo out; echo err >&2")
			if err != nil || out != "out\n" || errs != "err\n" {
				t.Errorf("%q %q %v", out, errs, err)
			}
			out, _, err = execute(t, both, protocol, ns, "box", "to and fro", "cat")
			if err != nil || out != "to and fro" {
				t.Errorf("stdin: %q %v", out, err)
			}
			var code clientexec.CodeExitError
			if _, _, err = execute(t, both, protocol, ns, "box", "", "sh", "-c", "exit 7"); !errors.As(err, &code) || code.Code != 7 {
				t.Errorf("exit code: %v", err)
			}
			large := strings.Repeat("0123456789abcdef", 1<<16)
			if out, _, err = execute(t, both, protocol, ns, "box", large, "cat"); err != nil || out != large {
				t.Errorf("a megabyte: %d of %d bytes, %v", len(out), len(large), err)
			}
			if _, _, err = execute(t, both, protocol, ns, "absent", "", "true"); err == nil || !strings.Contains(err.Error(), "not found") {
				t.Errorf("absent: %v", err)
			}
		})
	}
	t.Run("directly", func(t *testing.T) {
		for _, protocol := range []string{"WebSocket", "SPDY"} {
			if out, _, err := execute(t, asDirectly(t, both), protocol, ns, "box", "", "echo", "out"); err != nil || out != "out\n" {
				t.Errorf("%s: %q %v", protocol, out, err)
			}
		}
	})
	t.Run("create without get is enough for SPDY", func(t *testing.T) {
		if out, _, err := execute(t, poster, "SPDY", ns, "box", "", "echo", "out"); err != nil || out != "out\n" {
			t.Errorf("%q %v", out, err)
		}
	})
	t.Run("no right on Pods comes of it", func(t *testing.T) {
		got := send(t, both, http.MethodGet, "/api/v1/namespaces/"+ns+"/pods/box", "", "")
		if got.code != http.StatusForbidden {
			t.Errorf("%d %s", got.code, got.body)
		}
	})
	for way, config := range map[string]*rest.Config{"through the front": reader, "directly": asDirectly(t, reader)} {
		t.Run("get is not enough for a WebSocket "+way, func(t *testing.T) {
			_, _, err := execute(t, config, "WebSocket", ns, "box", "", "echo", "out")
			if err == nil || !strings.Contains(err.Error(), cannot(ns, "reader", "create", "sandboxes/exec", "box")) {
				t.Errorf("%v", err)
			}
			got := send(t, config, http.MethodGet, sandboxPath(ns, "box")+"/exec?command=true&stdout=true", "", "")
			mustFail(t, got, http.StatusForbidden, "Forbidden", cannot(ns, "reader", "create", "sandboxes/exec", "box"))
		})
	}
	t.Run("what is no stream", func(t *testing.T) {
		exec := sandboxPath(ns, "box") + "/exec"
		got := send(t, admin, http.MethodPost, exec+"?command=true", "", "")
		mustFail(t, got, http.StatusBadRequest, "BadRequest", "Upgrade request required")
		got = send(t, admin, http.MethodPost, exec+"?command=true&dryRun=All", "", "")
		mustFail(t, got, http.StatusBadRequest, "BadRequest", "dryRun is not supported")
		if got := send(t, admin, http.MethodPut, exec, asJSON, "{}"); got.code != http.StatusMethodNotAllowed {
			t.Errorf("PUT: %d %s", got.code, got.body)
		}
		if got := send(t, admin, http.MethodGet, exec+"/more", "", ""); got.code != http.StatusNotFound {
			t.Errorf("a longer path: %d %s", got.code, got.body)
		}
	})
	t.Run("suspended", func(t *testing.T) {
		mustAct(t, ns, "box", "suspend", "wait=true")
		text := `Operation cannot be fulfilled on sandboxes.sandbox.x-k8s.io "box": the sandbox is suspended`
		for _, protocol := range []string{"WebSocket", "SPDY"} {
			_, _, err := execute(t, both, protocol, ns, "box", "", "true")
			if err == nil || !strings.Contains(err.Error(), text+", and to resume it takes the right to create sandboxes/resume") {
				t.Errorf("%s: %v", protocol, err)
			}
		}
		// Looking at what it said needs no Sandbox that runs, and has none.
		got := send(t, admin, http.MethodGet, sandboxPath(ns, "box")+"/log", "", "")
		mustFail(t, got, http.StatusConflict, "Conflict", text+"; resume it first")
		if mode, _, _ := unstructured.NestedString(getSandbox(t, ns, "box").Object, "spec", "operatingMode"); mode != "Suspended" {
			t.Errorf("it was resumed: %s", mode)
		}
	})
}

func TestSomebodyElsesPod(t *testing.T) {
	calm(t)
	ns := namespace(t)
	pod := cluster.Pod(ns, "box")
	if _, err := dyn.Resource(cluster.Pods).Namespace(ns).Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	createSandbox(t, ns, "box")
	text := `Operation cannot be fulfilled on sandboxes.sandbox.x-k8s.io "box": the Pod "box" does not belong to the sandbox`
	got := send(t, admin, http.MethodGet, sandboxPath(ns, "box")+"/log", "", "")
	mustFail(t, got, http.StatusConflict, "Conflict", text)
	if _, _, err := execute(t, admin, "SPDY", ns, "box", "", "true"); err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v", err)
	}
}

func TestLog(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box", serving)
	waitReady(t, ns, "box")
	reader := streamer(t, ns, "logreader", "log", "get")
	at := sandboxPath(ns, "box") + "/log"
	if got := send(t, reader, http.MethodGet, at, "", ""); got.code != http.StatusOK || got.body != "started\n" {
		t.Errorf("%d %q", got.code, got.body)
	}
	if got := send(t, reader, http.MethodGet, at+"?tailLines=0", "", ""); got.code != http.StatusOK || got.body != "" {
		t.Errorf("tailLines: %d %q", got.code, got.body)
	}
	if got := send(t, reader, http.MethodGet, at+"?container=other", "", ""); got.code != http.StatusBadRequest {
		t.Errorf("another container: %d %q", got.code, got.body)
	}
	got := send(t, reader, http.MethodGet, sandboxPath(ns, "box")+"/exec", "", "")
	mustFail(t, got, http.StatusForbidden, "Forbidden", cannot(ns, "logreader", "get", "sandboxes/exec", "box"))

	// Following goes on until the client has enough.
	client, err := rest.HTTPClientFor(reader)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, reader.Host+at+"?follow=true", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	line := make([]byte, len("started\nmore\n"))
	if _, _, err := execute(t, admin, "WebSocket", ns, "box", "", "sh", "-c", "echo more > /proc/1/fd/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(answer.Body, line); err != nil || string(line) != "started\nmore\n" {
		t.Errorf("%q %v", line, err)
	}
}

func TestPortForward(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box", serving)
	waitReady(t, ns, "box")
	forwarder := streamer(t, ns, "forwarder", "portforward", "create", "get")
	ports := forwarded(t, forwarder, "SPDY", ns, "box", "0:8080")
	page := fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local)
	for range 3 {
		got, err := exchange(&http.Client{}, page, http.MethodGet, "/", "", http.NoBody, nil)
		if err != nil || got.code != http.StatusOK || got.body != "page\n" {
			t.Fatalf("%d %q %v", got.code, got.body, err)
		}
	}
}
