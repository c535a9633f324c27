package suite

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const stored = "sandbox.sandbox.x-k8s.io/"

func TestKubectlApplies(t *testing.T) {
	calm(t)
	ns := namespace(t)
	sandbox := cluster.Sandbox(ns, "applied", cluster.Suspended)
	text := manifest(t, sandbox)

	expectOutput(t, pipe(t, text, "apply", "-f", "-"), stored+"applied created\n")
	before := getSandbox(t, ns, "applied")
	expectOutput(t, pipe(t, text, "apply", "-f", "-"), stored+"applied unchanged\n")
	if after := waitSuspended(t, ns, "applied"); after.GetGeneration() != before.GetGeneration() {
		t.Errorf("generation %d became %d without a change", before.GetGeneration(), after.GetGeneration())
	}
	if got := tryKubectl(t, text, "diff", "-f", "-"); got.code != 0 || got.stdout != "" {
		t.Errorf("diff of nothing: exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}

	if err := unstructured.SetNestedField(sandbox.Object, "Delete", "spec", "shutdownPolicy"); err != nil {
		t.Fatal(err)
	}
	sandbox.SetLabels(map[string]string{"tier": "two"})
	changed := manifest(t, sandbox)
	difference := tryKubectl(t, changed, "diff", "-f", "-")
	if difference.code != 1 {
		t.Errorf("diff: exit %d, want 1\n%s%s", difference.code, difference.stdout, difference.stderr)
	}
	mustContain(t, "diff", difference.stdout, "-  shutdownPolicy: Retain", "+  shutdownPolicy: Delete", "+    tier: two")
	expectOutput(t, pipe(t, changed, "apply", "-f", "-"), stored+"applied configured\n")
	after := getSandbox(t, ns, "applied")
	if policy, _, _ := unstructured.NestedString(after.Object, "spec", "shutdownPolicy"); policy != "Delete" || after.GetLabels()["tier"] != "two" {
		t.Errorf("not applied: %s", show(after.Object))
	}
	// What is no longer in the manifest goes, as the last-applied annotation says.
	sandbox.SetLabels(nil)
	pipe(t, manifest(t, sandbox), "apply", "-f", "-")
	if labels := getSandbox(t, ns, "applied").GetLabels(); labels["tier"] != "" {
		t.Errorf("apply left the label: %v", labels)
	}
}

func TestKubectlValidates(t *testing.T) {
	calm(t)
	ns := namespace(t)
	sandbox := cluster.Sandbox(ns, "typo", cluster.Suspended)
	sandbox.Object["spec"].(map[string]any)["operatingMood"] = "Suspended"
	text := manifest(t, sandbox)

	strict := tryKubectl(t, text, "apply", "--validate=strict", "-f", "-")
	want := `Error from server (BadRequest): error when creating "STDIN": Sandbox in version "v1beta1" cannot be handled as a Sandbox: strict decoding error: unknown field "spec.operatingMood"` + "\n"
	if strict.code != 1 || strict.stderr != want {
		t.Errorf("strict: exit %d\ngot  %swant %s", strict.code, strict.stderr, want)
	}
	warn := tryKubectl(t, text, "apply", "--validate=warn", "-f", "-")
	if warn.code != 0 {
		t.Errorf("warn: exit %d\n%s", warn.code, warn.stderr)
	}
	mustContain(t, "warning", warn.stderr, `Warning: unknown field "spec.operatingMood"`)
	if _, found, _ := unstructured.NestedString(getSandbox(t, ns, "typo").Object, "spec", "operatingMood"); found {
		t.Error("the unknown field was stored")
	}
}

func TestKubectlDryRunStoresNothing(t *testing.T) {
	calm(t)
	ns := namespace(t)
	text := manifest(t, cluster.Sandbox(ns, "imagined"))
	expectOutput(t, pipe(t, text, "create", "--dry-run=server", "-f", "-"), stored+"imagined created (server dry run)\n")
	made := pipe(t, text, "create", "--dry-run=server", "-f", "-", "-o", "yaml")
	mustContain(t, "dry run", made, "uid: ", "creationTimestamp: ", "operatingMode: Running", "shutdownPolicy: Retain")
	got := tryKubectl(t, "", "get", "sandbox", "imagined", "-n", ns)
	if want := "Error from server (NotFound): sandboxes.sandbox.x-k8s.io \"imagined\" not found\n"; got.code != 1 || got.stderr != want {
		t.Errorf("exit %d\ngot  %swant %s", got.code, got.stderr, want)
	}
	createSandbox(t, ns, "kept", cluster.Suspended)
	kubectl(t, "delete", "sandbox", "kept", "-n", ns, "--dry-run=server")
	getSandbox(t, ns, "kept")
}

func TestKubectlEdits(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "edited", cluster.Suspended)
	waitSuspended(t, ns, "edited")
	sandbox := func() *unstructured.Unstructured { return getSandbox(t, ns, "edited") }
	on := func(args ...string) string {
		t.Helper()
		return kubectl(t, append([]string{args[0], "sandbox", "edited", "-n", ns}, args[1:]...)...)
	}

	expectOutput(t, on("label", "color=red"), stored+"edited labeled\n")
	expectOutput(t, on("annotate", "note=hello"), stored+"edited annotated\n")
	if got := sandbox(); got.GetLabels()["color"] != "red" || got.GetAnnotations()["note"] != "hello" || got.GetGeneration() != 1 {
		t.Errorf("metadata %s", show(got.Object["metadata"]))
	}
	mustContain(t, "selected", kubectl(t, "get", "sandboxes", "-n", ns, "-l", "color=red", "-o", "name"), stored+"edited")
	expectOutput(t, kubectl(t, "get", "sandboxes", "-n", ns, "-l", "color!=red", "-o", "name"), "")
	mustContain(t, "field selector", kubectl(t, "get", "sandboxes", "-n", ns, "--field-selector=metadata.name=edited", "-o", "name"), stored+"edited")
	on("label", "color-")

	expectOutput(t, on("patch", "--type=merge", "-p", `{"spec":{"service":true}}`), stored+"edited patched\n")
	expectOutput(t, on("patch", "--type=merge", "-p", `{"spec":{"service":true}}`), stored+"edited patched (no change)\n")
	expectOutput(t, on("patch", "--type=json", "-p", `[{"op":"replace","path":"/spec/service","value":false}]`), stored+"edited patched\n")
	got := sandbox()
	if service, found, _ := unstructured.NestedBool(got.Object, "spec", "service"); !found || service || got.GetGeneration() != 3 {
		t.Errorf("service %v, generation %d, want false and 3", service, got.GetGeneration())
	}

	// As kubectl edit does: read, change, replace.
	read := on("get", "-o", "yaml")
	replaced := strings.Replace(read, "service: false", "service: true", 1)
	expectOutput(t, pipe(t, replaced, "replace", "-f", "-"), stored+"edited replaced\n")
	stale := tryKubectl(t, replaced, "replace", "-f", "-")
	mustContain(t, "replace with an old resourceVersion", stale.stderr, "Error from server (Conflict)",
		`Operation cannot be fulfilled on sandboxes.sandbox.x-k8s.io "edited": the object has been modified; please apply your changes to the latest version and try again`)
	editor := run(t, "", "env", "KUBE_EDITOR=sed -i s/shutdownPolicy:.Retain/shutdownPolicy:\\ Delete/", env.Kubectl, "edit", "sandbox", "edited", "-n", ns)
	expectOutput(t, editor.stdout, stored+"edited edited\n")
	mustContain(t, "edited", on("get", "-o", "yaml"), "shutdownPolicy: Delete", "service: true")

	expectOutput(t, on("delete", "--wait=false"), "sandbox.sandbox.x-k8s.io \"edited\" deleted from "+ns+" namespace\n")
}

func TestKubectlAsksForRights(t *testing.T) {
	calm(t)
	for _, question := range [][]string{
		{"create", "sandboxes.sandbox.x-k8s.io"},
		{"create", "sandboxes.sandbox.x-k8s.io", "--subresource=suspend"},
		{"deletecollection", "sandboxclaims.sandbox.x-k8s.io"},
	} {
		expectOutput(t, kubectl(t, append([]string{"auth", "can-i"}, question...)...), "yes\n")
		nobody := tryKubectl(t, "", append([]string{"auth", "can-i", "--as=nobody"}, question...)...)
		if nobody.code != 1 || nobody.stdout != "no\n" {
			t.Errorf("can-i %v as nobody: exit %d %s%s", question, nobody.code, nobody.stdout, nobody.stderr)
		}
	}
}

func TestKubectlScalesAWarmPool(t *testing.T) {
	calm(t)
	ns := namespace(t)
	pool := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": cluster.GroupVersion,
		"kind":       "SandboxWarmPool",
		"metadata":   map[string]any{"namespace": ns, "name": "pool"},
		// Without a template no Pod is started, whatever the pool's size.
		"spec": map[string]any{"replicas": int64(0), "sandboxTemplateRef": map[string]any{"name": "none"}},
	}}
	pools := dyn.Resource(cluster.WarmPools).Namespace(ns)
	if _, err := pools.Create(context.Background(), pool, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expectOutput(t, kubectl(t, "scale", "sandboxwarmpool", "pool", "-n", ns, "--replicas=2"), "sandboxwarmpool.sandbox.x-k8s.io/pool scaled\n")
	if replicas, _, _ := unstructured.NestedInt64(get(t, cluster.WarmPools, ns, "pool").Object, "spec", "replicas"); replicas != 2 {
		t.Errorf("replicas %d, want 2", replicas)
	}
	guarded := tryKubectl(t, "", "scale", "sandboxwarmpool", "pool", "-n", ns, "--current-replicas=7", "--replicas=1")
	mustContain(t, "scale from a wrong number", guarded.stderr, "Expected replicas to be 7, was 2")
	scale, err := pools.Get(context.Background(), "pool", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if scale.GetAPIVersion() != "autoscaling/v1" || scale.GetKind() != "Scale" {
		t.Errorf("scale is %s", show(scale.Object))
	}
}

func expectOutput(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("kubectl said %q, want %q", got, want)
	}
}
