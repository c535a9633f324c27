package suite

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// children that a Sandbox with everything has.
func children(name string) map[schema.GroupVersionResource]string {
	return map[schema.GroupVersionResource]string{
		cluster.Pods:     name,
		cluster.Services: name,
		cluster.Claims:   "workspace-" + name,
	}
}

func TestSandboxBecomesReal(t *testing.T) {
	calm(t)
	ns := namespace(t)
	text := manifest(t, cluster.Sandbox(ns, "whole", cluster.WithWorkspace, cluster.WithService))
	expectOutput(t, pipe(t, text, "apply", "-f", "-"), stored+"whole created\n")
	kubectl(t, "wait", "--for=condition=Ready", "sandbox/whole", "-n", ns, "--timeout=90s")
	sandbox := getSandbox(t, ns, "whole")

	for resource, name := range children("whole") {
		child := get(t, resource, ns, name)
		owners := child.GetOwnerReferences()
		if len(owners) != 1 {
			t.Errorf("%s has owners %s", resource.Resource, show(owners))
			continue
		}
		owner := owners[0]
		isTrue := func(value *bool) bool { return value != nil && *value }
		if owner.APIVersion != cluster.GroupVersion || owner.Kind != "Sandbox" || owner.Name != "whole" ||
			owner.UID != sandbox.GetUID() || !isTrue(owner.Controller) || !isTrue(owner.BlockOwnerDeletion) {
			t.Errorf("%s has owner %s", resource.Resource, show(owner))
		}
		if child.GetLabels()[cluster.NameHashLabel] == "" {
			t.Errorf("%s has no name hash: %v", resource.Resource, child.GetLabels())
		}
	}
	service := get(t, cluster.Services, ns, "whole")
	if address, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP"); address != "None" {
		t.Errorf("Service has address %q, want a headless one", address)
	}
	pod := get(t, cluster.Pods, ns, "whole")
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	if hash := pod.GetLabels()[cluster.NameHashLabel]; len(selector) != 1 || selector[cluster.NameHashLabel] != hash {
		t.Errorf("Service selects %v, the Pod has %v", selector, pod.GetLabels())
	}

	status := sandbox.Object["status"].(map[string]any)
	node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
	ip, _, _ := unstructured.NestedString(pod.Object, "status", "podIP")
	for field, want := range map[string]any{
		"phase":              "Running",
		"podName":            "whole",
		"nodeName":           node,
		"service":            "whole",
		"serviceFQDN":        "whole." + ns + ".svc.cluster.local",
		"selector":           cluster.NameHashLabel + "=" + selector[cluster.NameHashLabel],
		"observedGeneration": sandbox.GetGeneration(),
	} {
		if status[field] != want {
			t.Errorf("status.%s is %v, want %v", field, status[field], want)
		}
	}
	if got := show(status["podIPs"]); got != show([]string{ip}) {
		t.Errorf("status.podIPs is %s, want %s", got, ip)
	}
	for kind, want := range map[string][2]string{
		"Ready":        {"True", "DependenciesReady"},
		"Suspended":    {"False", "NotSuspended"},
		"PodScheduled": {"True", "PodScheduled"},
	} {
		if status, reason, _ := cluster.Condition(sandbox, kind); status != want[0] || reason != want[1] {
			t.Errorf("condition %s is %s %s, want %v", kind, status, reason, want)
		}
	}

	kubectl(t, "delete", "sandbox", "whole", "-n", ns)
	for resource, name := range children("whole") {
		waitGone(t, resource, ns, name)
	}
}

func TestWorkspaceSurvivesSuspend(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "kept", cluster.WithWorkspace, cluster.WithService)
	waitReady(t, ns, "kept")
	first := podUID(t, ns, "kept")
	claim := get(t, cluster.Claims, ns, "workspace-kept").GetUID()
	inside := func(script string) string {
		t.Helper()
		return strings.TrimSpace(kubectl(t, "exec", "-n", ns, "kept", "--", "sh", "-c", script))
	}
	inside("echo once > /workspace/note; echo lost > /tmp/note")

	// The actions, which answer when it is done.
	suspended := mustAct(t, ns, "kept", "suspend", "wait=true&timeout=30s").object(t)
	if answer := (&unstructured.Unstructured{Object: suspended}); answer.GetKind() != "Sandbox" || !isSuspended(answer) || phase(answer) != "Suspended" {
		t.Errorf("suspend answered %s", show(suspended))
	}
	waitGone(t, cluster.Pods, ns, "kept")
	sandbox := getSandbox(t, ns, "kept")
	if status, reason, _ := cluster.Condition(sandbox, "Ready"); status != "False" || reason != "SandboxSuspended" {
		t.Errorf("Ready is %s %s while suspended", status, reason)
	}
	for _, field := range []string{"podName", "podIPs", "nodeName"} {
		if value, found, _ := unstructured.NestedFieldNoCopy(sandbox.Object, "status", field); found {
			t.Errorf("status.%s is %v while suspended", field, value)
		}
	}
	if _, found, _ := unstructured.NestedString(sandbox.Object, "status", "suspendedTime"); !found {
		t.Error("no status.suspendedTime while suspended")
	}
	get(t, cluster.Services, ns, "kept")
	resumed := mustAct(t, ns, "kept", "resume", "wait=true&timeout=30s").object(t)
	if answer := (&unstructured.Unstructured{Object: resumed}); !isReady(answer) || phase(answer) != "Running" {
		t.Errorf("resume answered %s", show(resumed))
	}
	second := podUID(t, ns, "kept")
	if got := inside("cat /workspace/note; ls /tmp"); got != "once" {
		t.Errorf("after resume the workspace says %q", got)
	}

	// The field, which does the same.
	inside("echo twice >> /workspace/note")
	setMode := func(mode string) {
		t.Helper()
		kubectl(t, "patch", "sandbox", "kept", "-n", ns, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"operatingMode":%q}}`, mode))
	}
	setMode("Suspended")
	waitSuspended(t, ns, "kept")
	setMode("Running")
	waitReady(t, ns, "kept")
	if got := inside("cat /workspace/note"); got != "once\ntwice" {
		t.Errorf("after the second resume the workspace says %q", got)
	}
	third := podUID(t, ns, "kept")
	if first == second || second == third {
		t.Errorf("the same Pod came back: %s %s %s", first, second, third)
	}
	if now := get(t, cluster.Claims, ns, "workspace-kept").GetUID(); now != claim {
		t.Errorf("the claim was replaced: %s, then %s", claim, now)
	}
}

func TestActionsDoNotWaitUnlessAsked(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "brisk")
	waitReady(t, ns, "brisk")
	answer := mustAct(t, ns, "brisk", "suspend", "").object(t)
	if mode, _, _ := unstructured.NestedString(answer, "spec", "operatingMode"); mode != "Suspended" {
		t.Errorf("suspend answered mode %q", mode)
	}
	waitSuspended(t, ns, "brisk")
	// What never becomes ready times out with a typed error, and the wish stays.
	createSandbox(t, ns, "stuck", cluster.Suspended, withImage("docker.io/local/absent:1"))
	waitSuspended(t, ns, "stuck")
	late := act(t, admin, ns, "stuck", "resume", "wait=true&timeout=1s")
	if _, reason := late.status(); late.code != http.StatusGatewayTimeout || reason != "Timeout" {
		t.Errorf("a resume that cannot end: %d %s", late.code, late.body)
	}
	if mode, _, _ := unstructured.NestedString(getSandbox(t, ns, "stuck").Object, "spec", "operatingMode"); mode != "Running" {
		t.Errorf("the timed out resume was lost: mode %s", mode)
	}
}

func TestLostPodIsReplaced(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "phoenix")
	waitReady(t, ns, "phoenix")
	old := podUID(t, ns, "phoenix")
	kubectl(t, "delete", "pod", "phoenix", "-n", ns)
	eventually(t, "another Pod", patience, func() (bool, string) {
		pod, err := dyn.Resource(cluster.Pods).Namespace(ns).Get(context.Background(), "phoenix", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return string(pod.GetUID()) != old, string(pod.GetUID())
	})
	waitReady(t, ns, "phoenix")
}

func TestEndedPodIsNotReplaced(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ends := func(code string) func(map[string]any) {
		return func(spec map[string]any) {
			pod := spec["podTemplate"].(map[string]any)["spec"].(map[string]any)
			pod["restartPolicy"] = "Never"
			pod["containers"].([]any)[0].(map[string]any)["command"] = []any{"sh", "-c", "exit " + code}
		}
	}
	createSandbox(t, ns, "done", ends("0"))
	createSandbox(t, ns, "broken", ends("3"))
	for name, want := range map[string][2]string{"done": {"Succeeded", "PodSucceeded"}, "broken": {"Failed", "PodFailed"}} {
		sandbox := waitSandbox(t, ns, name, want[0], func(sandbox *unstructured.Unstructured) bool {
			return phase(sandbox) == want[0]
		})
		for kind, value := range map[string]string{"Finished": "True", "Ready": "False"} {
			if status, reason, _ := cluster.Condition(sandbox, kind); status != value || reason != want[1] {
				t.Errorf("%s: %s is %s %s", name, kind, status, reason)
			}
		}
		get(t, cluster.Pods, ns, name)
	}
}

func TestShutdownTime(t *testing.T) {
	calm(t)
	ns := namespace(t)
	policy := func(name string) func(map[string]any) {
		return func(spec map[string]any) { spec["shutdownPolicy"] = name }
	}
	createSandbox(t, ns, "retained", policy("Retain"), cluster.WithService, cluster.WithWorkspace)
	createSandbox(t, ns, "deleted", policy("Delete"), cluster.WithService)
	for _, name := range []string{"retained", "deleted"} {
		waitReady(t, ns, name)
		// To the second, as the API stores it.
		soon := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)
		patch := []byte(`{"spec":{"shutdownTime":"` + soon + `"}}`)
		if _, err := sandboxes(ns).Patch(context.Background(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	sandbox := waitSandbox(t, ns, "retained", "Expired", func(sandbox *unstructured.Unstructured) bool {
		_, reason, _ := cluster.Condition(sandbox, "Ready")
		return phase(sandbox) == "Expired" && reason == "SandboxExpired"
	})
	waitGone(t, cluster.Pods, ns, "retained")
	waitGone(t, cluster.Services, ns, "retained")
	waitGone(t, cluster.Sandboxes, ns, "deleted")
	waitGone(t, cluster.Pods, ns, "deleted")
	waitGone(t, cluster.Services, ns, "deleted")
	// Retain keeps the data as well as the object.
	get(t, cluster.Claims, ns, "workspace-retained")
	if now := getSandbox(t, ns, "retained"); now.GetUID() != sandbox.GetUID() {
		t.Errorf("another Sandbox: %s", now.GetUID())
	}
}

// A Pod's label follows the Sandbox without a restart.
func TestPodMetadataFollows(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "labelled")
	waitReady(t, ns, "labelled")
	uid := podUID(t, ns, "labelled")
	_, err := sandboxes(ns).Patch(context.Background(), "labelled", types.MergePatchType,
		[]byte(`{"spec":{"podTemplate":{"metadata":{"labels":{"colour":"blue"}}}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "label on the Pod", patience, func() (bool, string) {
		pod := get(t, cluster.Pods, ns, "labelled")
		return pod.GetLabels()["colour"] == "blue" && string(pod.GetUID()) == uid, show(pod.Object["metadata"])
	})
}

func withImage(image string) func(map[string]any) {
	return func(spec map[string]any) {
		pod := spec["podTemplate"].(map[string]any)["spec"].(map[string]any)
		pod["containers"].([]any)[0].(map[string]any)["image"] = image
	}
}
