package suite

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

func claimPath(ns, name string) string {
	return groupVersion + "/namespaces/" + ns + "/sandboxclaims/" + name
}

func TestStreamsOfAClaim(t *testing.T) {
	calm(t)
	ns := namespace(t)
	makePool(t, ns, "served", 1)
	got := send(t, admin, http.MethodPost, poolPath(ns, "served")+"/claim", asJSON, `{"metadata":{"name":"mine"}}`)
	claim := claimed(t, got, http.StatusCreated)
	sandbox := boundTo(claim, "name")
	path := claimPath(ns, "mine")
	bindRule(t, ns, "claimant", []string{"sandboxclaims/exec", "sandboxclaims/log"}, "create", "get")
	claimant := user(t, "claimant-of-"+ns)
	eventually(t, "right of claimant", patience, func() (bool, string) {
		got := send(t, claimant, http.MethodPost, claimPath(ns, "absent")+"/exec", "", "")
		return got.code != http.StatusForbidden, got.body
	})
	for _, protocol := range []string{"WebSocket", "SPDY"} {
		out, _, err := executeAt(t, claimant, protocol, path, "", "hostname")
		if err != nil || out != sandbox+"\n" {
			t.Errorf("%s: %q %v, bound to %s", protocol, out, err, sandbox)
		}
	}
	if got := send(t, claimant, http.MethodGet, path+"/log", "", ""); got.code != http.StatusOK {
		t.Errorf("log: %d %s", got.code, got.body)
	}
	// It is a right on the claim alone.
	_, _, err := execute(t, claimant, "SPDY", ns, sandbox, "", "true")
	if err == nil || !strings.Contains(err.Error(), cannot(ns, "claimant", "create", "sandboxes/exec", sandbox)) {
		t.Errorf("on the Sandbox itself: %v", err)
	}
	// One that waits has nothing to speak to.
	body := `{"metadata":{"name":"waits"},"spec":{"replicas":9,"onEmptyPool":"Wait"}}`
	claimed(t, send(t, admin, http.MethodPost, poolPath(ns, "served")+"/claim", asJSON, body), http.StatusCreated)
	_, _, err = executeAt(t, admin, "SPDY", claimPath(ns, "waits"), "", "true")
	if err == nil || !strings.Contains(err.Error(), "the claim is not bound to a Sandbox") {
		t.Errorf("of a claim that waits: %v", err)
	}
}

// TestActionsOfAClaim do to its Sandbox what its own do, with a right on the claim alone.
func TestActionsOfAClaim(t *testing.T) {
	calm(t)
	ns := namespace(t)
	makePool(t, ns, "acted", 1)
	got := send(t, admin, http.MethodPost, poolPath(ns, "acted")+"/claim", asJSON, `{"metadata":{"name":"mine"}}`)
	box := boundTo(claimed(t, got, http.StatusCreated), "name")
	bindRule(t, ns, "holder", []string{"sandboxclaims/suspend", "sandboxclaims/resume", "sandboxclaims/restart"}, "create")
	holder := user(t, "holder-of-"+ns)
	eventually(t, "right of holder", patience, func() (bool, string) {
		got := send(t, holder, http.MethodPost, claimPath(ns, "absent")+"/restart", "", "")
		return got.code == http.StatusNotFound, got.body
	})
	started := func() string {
		at, _, _ := unstructured.NestedString(getSandbox(t, ns, box).Object, "status", "startTime")
		return at
	}
	for _, step := range []struct{ action, phase string }{{"suspend", "Suspended"}, {"resume", "Running"}, {"restart", "Running"}} {
		before := started()
		got := send(t, holder, http.MethodPost, claimPath(ns, "mine")+"/"+step.action+"?wait=true", "", "")
		if got.code != http.StatusOK {
			t.Fatalf("%s: %d %s", step.action, got.code, got.body)
		}
		acted := &unstructured.Unstructured{Object: got.object(t)}
		if acted.GetKind() != "Sandbox" || acted.GetName() != box || phase(acted) != step.phase {
			t.Errorf("%s: %s", step.action, got.body)
		}
		if step.action == "restart" && started() == before {
			t.Error("restart did not wait")
		}
	}
	got = send(t, asDirectly(t, holder), http.MethodPost, sandboxPath(ns, box)+"/suspend", "", "")
	mustFail(t, got, http.StatusForbidden, "Forbidden", cannot(ns, "holder", "create", "sandboxes/suspend", box))
	body := `{"metadata":{"name":"gang"},"spec":{"replicas":2}}`
	claimed(t, send(t, admin, http.MethodPost, poolPath(ns, "acted")+"/claim?wait=bound", asJSON, body), http.StatusCreated)
	got = send(t, admin, http.MethodPost, claimPath(ns, "gang")+"/suspend", "", "")
	mustFail(t, got, http.StatusConflict, "Conflict", `Operation cannot be fulfilled on sandboxclaims.sandbox.x-k8s.io "gang": the claim has 2 Sandboxes; act on them by their names`)
}

func TestASandboxIsWokenByItsUse(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "sleeper", cluster.Suspended)
	waitSuspended(t, ns, "sleeper")
	bindRule(t, ns, "waker", []string{"sandboxes/exec", "sandboxes/resume"}, "create", "get")
	waker := user(t, "waker-of-"+ns)
	eventually(t, "right of waker", patience, func() (bool, string) {
		got := send(t, waker, http.MethodPost, sandboxPath(ns, "absent")+"/exec", "", "")
		return got.code != http.StatusForbidden, got.body
	})
	before := getSandbox(t, ns, "sleeper").GetGeneration()
	var crowd sync.WaitGroup
	for range 10 {
		crowd.Go(func() {
			if out, _, err := execute(t, waker, "WebSocket", ns, "sleeper", "", "echo", "awake"); err != nil || out != "awake\n" {
				t.Errorf("%q %v", out, err)
			}
		})
	}
	crowd.Wait()
	after := getSandbox(t, ns, "sleeper")
	if mode, _, _ := unstructured.NestedString(after.Object, "spec", "operatingMode"); mode != "Running" {
		t.Errorf("operating mode %q", mode)
	}
	if after.GetGeneration() != before+1 {
		t.Errorf("ten requests wrote it %d times", after.GetGeneration()-before)
	}
}

func TestExecAfterARestartIsInTheNewPod(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	for range 3 {
		before := podUID(t, ns, "box")
		mustAct(t, ns, "box", "restart", "")
		out, _, err := execute(t, admin, "WebSocket", ns, "box", "", "cat", "/tmp/left")
		if err == nil || out != "" || !strings.Contains(err.Error(), "exit code 1") {
			t.Errorf("%q %v", out, err)
		}
		if _, _, err := execute(t, admin, "WebSocket", ns, "box", "", "touch", "/tmp/left"); err != nil {
			t.Error(err)
		}
		if after := podUID(t, ns, "box"); after == before {
			t.Error("the Pod was not replaced")
		}
	}
}

// session holds a stream open and tells how it ended.
func session(t *testing.T, config *rest.Config, protocol, ns, name string) <-chan error {
	t.Helper()
	query := url.Values{"command": {"sh", "-c", "echo open; sleep 600"}, "stdout": {"true"}}
	ended := make(chan error, 1)
	opened := make(chan struct{})
	reader, writer := io.Pipe()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	stream := executor(t, config, protocol, streamURL(t, config, ns, name, "exec", query))
	go func() { ended <- stream.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: writer}) }()
	go func() {
		var said bytes.Buffer
		if _, err := io.CopyN(&said, reader, int64(len("open\n"))); err == nil {
			close(opened)
		}
		_, _ = io.Copy(io.Discard, reader)
	}()
	select {
	case <-opened:
	case err := <-ended:
		t.Fatalf("the session ended at once: %v", err)
	case <-time.After(patience):
		t.Fatal("the session did not open")
	}
	return ended
}

func mustEnd(t *testing.T, what string, ended <-chan error, reason string) {
	t.Helper()
	select {
	case err := <-ended:
		if reason != "" && (err == nil || !strings.Contains(err.Error(), reason)) {
			t.Errorf("%s: ended with %v, not %q", what, err, reason)
		}
	case <-time.After(patience):
		t.Errorf("%s: the session goes on", what)
	}
}

func TestASessionEndsWithItsSandbox(t *testing.T) {
	calm(t)
	ns := namespace(t)
	for _, name := range []string{"suspended", "deleted"} {
		createSandbox(t, ns, name)
	}
	for name, end := range map[string]func(){
		"suspended": func() { mustAct(t, ns, "suspended", "suspend", "") },
		"deleted": func() {
			if err := sandboxes(ns).Delete(context.Background(), "deleted", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		waitReady(t, ns, name)
		overWebSocket := session(t, admin, "WebSocket", ns, name)
		overSPDY := session(t, admin, "SPDY", ns, name)
		end()
		mustEnd(t, name+" over WebSocket", overWebSocket, "the sandbox was "+name)
		// SPDY has no words for it.
		mustEnd(t, name+" over SPDY", overSPDY, "")
	}
}

func TestASessionEndsWithItsRight(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	temporary := streamer(t, ns, "temporary", "exec", "create", "get")
	ended := session(t, temporary, "WebSocket", ns, "box")
	reader := streamer(t, ns, "reader", "log", "get")
	followed := follow(t, reader, ns, "box")
	for _, role := range []string{"temporary", "reader"} {
		if err := core.RbacV1().Roles(ns).Delete(context.Background(), role, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mustEnd(t, "without its right", ended, "the right to this stream was withdrawn")
	mustEnd(t, "a log without its right", followed, "EOF")
}

// follow a log and tell how that ended: with "EOF" in the error if it breaks off, and without an error if it is whole.
func follow(t *testing.T, config *rest.Config, ns, name string) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	config = rest.CopyConfig(config)
	// In HTTP/1.1 what breaks off is an unexpected end.
	config.NextProtos = []string{"http/1.1"}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+sandboxPath(ns, name)+"/log?follow=true", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := httpClient(t, config).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("log: %s", answer.Status)
	}
	ended := make(chan error, 1)
	go func() {
		defer answer.Body.Close()
		_, err := io.Copy(io.Discard, answer.Body)
		ended <- err
	}()
	return ended
}

// TestALogEndsWithItsPod, and with what that said last.
func TestALogEndsWithItsPod(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	followed := follow(t, admin, ns, "box")
	mustAct(t, ns, "box", "suspend", "")
	select {
	case err := <-followed:
		if err != nil {
			t.Errorf("it broke off: %v", err)
		}
	case <-time.After(patience):
		t.Error("it goes on")
	}
}
