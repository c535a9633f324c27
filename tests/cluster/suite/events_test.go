package suite

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// story of an object: its Events by reason.
func story(t *testing.T, ns, kind, name string) map[string][]eventsv1.Event {
	t.Helper()
	found, err := core.EventsV1().Events(ns).List(context.Background(), metav1.ListOptions{
		FieldSelector: fmt.Sprintf("regarding.kind=%s,regarding.name=%s", kind, name),
	})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string][]eventsv1.Event{}
	for _, event := range found.Items {
		told[event.Reason] = append(told[event.Reason], event)
	}
	return told
}

func reasons(told map[string][]eventsv1.Event) string {
	var all []string
	for reason, events := range told {
		for _, event := range events {
			all = append(all, reason+": "+event.Note)
		}
	}
	return strings.Join(all, "\n")
}

// waitTold until the story of the object has an Event for each of the reasons.
func waitTold(t *testing.T, ns, kind, name string, wanted ...string) map[string][]eventsv1.Event {
	t.Helper()
	var told map[string][]eventsv1.Event
	eventually(t, fmt.Sprintf("Events %v of %s %s", wanted, kind, name), patience, func() (bool, string) {
		told = story(t, ns, kind, name)
		for _, reason := range wanted {
			if len(told[reason]) == 0 {
				return false, reasons(told)
			}
		}
		return true, ""
	})
	return told
}

func TestDescribeTellsTheStoryOfAClaim(t *testing.T) {
	calm(t)
	ns := namespace(t)
	makePool(t, ns, "pool", 1)
	claims := groupVersion + "/namespaces/" + ns + "/sandboxclaims"
	of := func(name, policy string) string {
		return show(object("SandboxClaim", ns, name, map[string]any{
			"warmPoolRef": map[string]any{"name": "pool"}, "onEmptyPool": policy, "timeout": "1s",
		}).Object)
	}
	warm := claimed(t, send(t, admin, http.MethodPost, claims, asJSON, of("warm", "Fail")), http.StatusCreated)
	sandbox := boundTo(warm, "name")
	told := waitTold(t, ns, "SandboxClaim", "warm", "Bound")
	if count := len(told["Bound"]); count != 1 {
		t.Errorf("bound %d times:\n%s", count, reasons(told))
	}
	bound := told["Bound"][0]
	mustContain(t, "Bound", bound.Note, fmt.Sprintf("bound to Sandbox %q of SandboxWarmPool \"pool\" in ", sandbox), " ms")
	if bound.Regarding.UID != warm.GetUID() || bound.Related == nil || bound.Related.Name != sandbox {
		t.Errorf("the Event is about %s and %s", show(bound.Regarding), show(bound.Related))
	}
	if bound.ReportingController != "sandbox-apiserver" || bound.Type != corev1.EventTypeNormal {
		t.Errorf("the Event is %s", show(bound))
	}
	described := kubectl(t, "describe", "sandboxclaim", "warm", "-n", ns)
	mustContain(t, "describe", described, "Events:", "Normal", "Bound", "sandbox-apiserver", "bound to Sandbox")
	waitTold(t, ns, "Sandbox", sandbox, "Claimed")
	described = kubectl(t, "describe", "sandbox", sandbox, "-n", ns)
	mustContain(t, "describe", described, "Claimed", `claimed by SandboxClaim "warm"`)
	kubectl(t, "delete", "sandbox", sandbox, "-n", ns)
	waitTold(t, ns, "SandboxClaim", "warm", "SandboxMissing")
	mustContain(t, "describe", kubectl(t, "describe", "sbxc", "warm", "-n", ns), "Warning", "SandboxMissing")

	// The pool tells what it made, and a claim that nothing was there for in time says so.
	waitPool(t, ns, "pool", 1)
	told = waitTold(t, ns, "SandboxWarmPool", "pool", "Created")
	mustContain(t, "Created", reasons(told), "made 1 of 1 Sandboxes")
	kubectl(t, "scale", "sandboxwarmpool", "pool", "-n", ns, "--replicas=0")
	waitTold(t, ns, "SandboxWarmPool", "pool", "Deleted")
	waits := send(t, admin, http.MethodPost, claims, asJSON, of("waits", "Wait"))
	claimed(t, waits, http.StatusCreated)
	told = waitTold(t, ns, "SandboxClaim", "waits", "Waiting", "TimedOut")
	if len(told["Bound"]) != 0 {
		t.Errorf("it was bound:\n%s", reasons(told))
	}
}

func TestAnImageThatCannotBeHad(t *testing.T) {
	calm(t)
	ns := namespace(t)
	spec := cluster.PodSpec()
	spec["containers"].([]any)[0].(map[string]any)["image"] = "local/absent:1"
	template := object("SandboxTemplate", ns, "t", map[string]any{"podTemplate": map[string]any{"spec": spec}})
	pool := object("SandboxWarmPool", ns, "stuck", map[string]any{
		"replicas": int64(2), "sandboxTemplateRef": map[string]any{"name": "t"},
	})
	pipe(t, manifest(t, template, pool), "create", "-f", "-")
	eventually(t, "cause in the pool's Ready", patience, func() (bool, string) {
		status, reason, message := cluster.Condition(get(t, cluster.WarmPools, ns, "stuck"), "Ready")
		done := status == "False" && reason == "NotProgressing" && strings.Contains(message, "ErrImageNeverPull")
		return done, status + " " + reason + " " + message
	})
	told := waitTold(t, ns, "SandboxWarmPool", "stuck", "NotProgressing")
	mustContain(t, "NotProgressing", reasons(told), "ErrImageNeverPull")
	if deleted := told["Deleted"]; len(deleted) != 0 {
		t.Errorf("members were replaced:\n%s", reasons(told))
	}
	// The remedy replaces them at once.
	good := cluster.PodSpec()
	patch := show(map[string]any{"spec": map[string]any{"podTemplate": map[string]any{"spec": good}}})
	kubectl(t, "patch", "sandboxtemplate", "t", "-n", ns, "--type=merge", "-p", patch)
	waitPool(t, ns, "stuck", 2)
}
