package suite

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// fails checks the code and the reason, and that the message names the culprit: its whole text is
// Kubernetes' business where mustFail is not used.
func fails(t *testing.T, got response, code int, reason string, parts ...string) {
	t.Helper()
	message, gotReason := got.status()
	if got.code != code || gotReason != reason {
		t.Errorf("got %d %s, want %d %s: %s", got.code, gotReason, code, reason, got.body)
	}
	mustContain(t, "message", message, parts...)
}

// edited hands the Sandbox's JSON to a hand that breaks it.
func edited(namespace, name string, edit func(object, spec map[string]any)) string {
	sandbox := cluster.Sandbox(namespace, name, cluster.Suspended)
	edit(sandbox.Object, sandbox.Object["spec"].(map[string]any))
	return show(sandbox.Object)
}

func TestBadBodies(t *testing.T) {
	calm(t)
	ns := namespace(t)
	post := func(t *testing.T, query, contentType, body string) response {
		t.Helper()
		return send(t, admin, http.MethodPost, sandboxesPath(ns)+query, contentType, body)
	}
	good := show(cluster.Sandbox(ns, "good", cluster.Suspended).Object)

	t.Run("malformed JSON", func(t *testing.T) {
		for _, body := range []string{good[:len(good)/2], good + "}", "[]", "null", "\x00", ""} {
			fails(t, post(t, "", asJSON, body), http.StatusBadRequest, "BadRequest")
		}
	})
	t.Run("malformed YAML", func(t *testing.T) {
		for _, body := range []string{"a: [", "a: b: c", "\t- x", "&a [*a]"} {
			fails(t, post(t, "", asYAML, body), http.StatusBadRequest, "BadRequest")
		}
		ok := post(t, "?dryRun=All", asYAML, manifest(t, cluster.Sandbox(ns, "good")))
		if ok.code != http.StatusCreated {
			t.Errorf("good YAML: %d %s", ok.code, ok.body)
		}
	})
	t.Run("deeply nested JSON", func(t *testing.T) {
		nested := strings.Repeat("[", 100000) + strings.Repeat("]", 100000)
		body := edited(ns, "deep", func(_, spec map[string]any) { spec["deep"] = "HERE" })
		fails(t, post(t, "", asJSON, strings.Replace(body, `"HERE"`, nested, 1)), http.StatusBadRequest, "BadRequest")
	})
	t.Run("unknown field", func(t *testing.T) {
		body := edited(ns, "unknown", func(_, spec map[string]any) { spec["colour"] = "red" })
		strict := `Sandbox in version "v1beta1" cannot be handled as a Sandbox: strict decoding error: unknown field "spec.colour"`
		mustFail(t, post(t, "?fieldValidation=Strict", asJSON, body), http.StatusBadRequest, "BadRequest", strict)
		warned := post(t, "?fieldValidation=Warn&dryRun=All", asJSON, body)
		warns(t, warned, `299 - "unknown field \"spec.colour\""`)
		silent := post(t, "?fieldValidation=Ignore&dryRun=All", asJSON, body)
		warns(t, silent)
		deep := edited(ns, "unknown", func(_, spec map[string]any) {
			pod := spec["podTemplate"].(map[string]any)["spec"].(map[string]any)
			pod["containers"].([]any)[0].(map[string]any)["imagine"] = "x"
		})
		mustContain(t, "a field of a container", post(t, "?fieldValidation=Strict", asJSON, deep).body, `unknown field \"spec.podTemplate.spec.containers[0].imagine\"`)
	})
	t.Run("duplicate field", func(t *testing.T) {
		body := strings.Replace(good, `"operatingMode":"Suspended"`, `"operatingMode":"Suspended","operatingMode":"Suspended"`, 1)
		strict := `Sandbox in version "v1beta1" cannot be handled as a Sandbox: strict decoding error: duplicate field "spec.operatingMode"`
		mustFail(t, post(t, "?fieldValidation=Strict", asJSON, body), http.StatusBadRequest, "BadRequest", strict)
		warns(t, post(t, "?dryRun=All", asJSON, body), `299 - "duplicate field \"spec.operatingMode\""`)
		twice := manifest(t, cluster.Sandbox(ns, "good")) + "spec: {}\n"
		mustContain(t, "duplicate key in YAML", post(t, "?fieldValidation=Strict", asYAML, twice).body, `already set in map`)
	})
	t.Run("wrong apiVersion", func(t *testing.T) {
		body := edited(ns, "other", func(object, _ map[string]any) { object["apiVersion"] = cluster.Group + "/v1" })
		mustFail(t, post(t, "", asJSON, body), http.StatusBadRequest, "BadRequest",
			"the API version in the data (sandbox.x-k8s.io/v1) does not match the expected API version (sandbox.x-k8s.io/v1beta1)")
		body = edited(ns, "other", func(object, _ map[string]any) { object["kind"] = "SandboxClaim" })
		fails(t, post(t, "", asJSON, body), http.StatusBadRequest, "BadRequest", "SandboxClaim")
	})
	t.Run("name and namespace of the URL", func(t *testing.T) {
		createSandbox(t, ns, "here", cluster.Suspended)
		put := func(body string) response {
			return send(t, admin, http.MethodPut, sandboxPath(ns, "here"), asJSON, body)
		}
		mustFail(t, put(show(cluster.Sandbox(ns, "there").Object)), http.StatusBadRequest, "BadRequest",
			"the name of the object (there) does not match the name on the URL (here)")
		elsewhere := "the namespace of the provided object does not match the namespace sent on the request"
		mustFail(t, put(show(cluster.Sandbox("default", "here").Object)), http.StatusBadRequest, "BadRequest", elsewhere)
		mustFail(t, post(t, "", asJSON, show(cluster.Sandbox("default", "x").Object)), http.StatusBadRequest, "BadRequest", elsewhere)
		fails(t, put(show(cluster.Sandbox(ns, "here").Object)), http.StatusUnprocessableEntity, "Invalid",
			`Sandbox.sandbox.x-k8s.io "here" is invalid: metadata.resourceVersion: Invalid value: 0`, "must be specified for an update")
	})
	t.Run("too large", func(t *testing.T) {
		body := edited(ns, "large", func(object, _ map[string]any) {
			object["metadata"].(map[string]any)["annotations"] = map[string]any{"a": strings.Repeat("x", 4<<20)}
		})
		mustFail(t, post(t, "", asJSON, body), http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
		// Within the limit of a body, past that of annotations.
		body = edited(ns, "large", func(object, _ map[string]any) {
			object["metadata"].(map[string]any)["annotations"] = map[string]any{"a": strings.Repeat("x", 257<<10)}
		})
		fails(t, post(t, "", asJSON, body), http.StatusUnprocessableEntity, "Invalid", "metadata.annotations: Too long")
	})
	t.Run("content types", func(t *testing.T) {
		fails(t, post(t, "", "text/plain", good), http.StatusUnsupportedMediaType, "UnsupportedMediaType")
		createSandbox(t, ns, "patched", cluster.Suspended)
		for _, contentType := range []string{strategic, "application/apply-patch+yaml", "text/plain"} {
			got := send(t, admin, http.MethodPatch, sandboxPath(ns, "patched"), contentType, `{"spec":{"service":true}}`)
			if contentType == "application/apply-patch+yaml" {
				got = send(t, admin, http.MethodPatch, sandboxPath(ns, "patched")+"?fieldManager=suite", contentType, `{"spec":{"service":true}}`)
			}
			fails(t, got, http.StatusUnsupportedMediaType, "UnsupportedMediaType", jsonPatch, mergePatch)
		}
		for _, patch := range []string{"{", `[{"op":"fly"}]`, `[{"op":"remove","path":"/spec/absent"}]`} {
			got := send(t, admin, http.MethodPatch, sandboxPath(ns, "patched"), jsonPatch, patch)
			if got.code != http.StatusBadRequest && got.code != http.StatusUnprocessableEntity {
				t.Errorf("patch %s: %d %s", patch, got.code, got.body)
			}
		}
	})
	t.Run("options", func(t *testing.T) {
		fails(t, post(t, "?dryRun=Some", asJSON, good), http.StatusUnprocessableEntity, "Invalid", "dryRun", `"All"`)
		fails(t, post(t, "?fieldValidation=Hard", asJSON, good), http.StatusUnprocessableEntity, "Invalid", "fieldValidation")
		list := func(query string) response { return send(t, admin, http.MethodGet, sandboxesPath(ns)+query, "", "") }
		fails(t, list("?fieldSelector=spec.colour%3Dred"), http.StatusBadRequest, "BadRequest", "field label not supported: spec.colour")
		fails(t, list("?labelSelector=a%3D%3D%3Db"), http.StatusBadRequest, "BadRequest")
		if got := list("?limit=-1"); got.code >= 500 {
			t.Errorf("a negative limit: %d %s", got.code, got.body)
		}
	})
}

func warns(t *testing.T, got response, want ...string) {
	t.Helper()
	if got.code != http.StatusCreated || fmt.Sprint(got.warnings) != fmt.Sprint(want) {
		t.Errorf("got %d with warnings %q, want %q: %s", got.code, got.warnings, want, got.body)
	}
}

func TestBadValues(t *testing.T) {
	calm(t)
	ns := namespace(t)
	post := func(resource string, object map[string]any) response {
		return send(t, admin, http.MethodPost, groupVersion+"/namespaces/"+ns+"/"+resource, asJSON, show(object))
	}
	invalid := func(t *testing.T, got response, parts ...string) {
		t.Helper()
		fails(t, got, http.StatusUnprocessableEntity, "Invalid", parts...)
	}
	of := func(kind string, spec map[string]any) map[string]any {
		return map[string]any{
			"apiVersion": cluster.GroupVersion, "kind": kind,
			"metadata": map[string]any{"namespace": ns, "name": "bad"}, "spec": spec,
		}
	}
	sandbox := func(edit func(spec map[string]any)) response {
		return post("sandboxes", cluster.Sandbox(ns, "bad", edit).Object)
	}
	pool := func(replicas int) response {
		return post("sandboxwarmpools", of("SandboxWarmPool", map[string]any{
			"replicas": replicas, "sandboxTemplateRef": map[string]any{"name": "t"},
		}))
	}

	t.Run("negative numbers", func(t *testing.T) {
		invalid(t, pool(-1), `SandboxWarmPool.sandbox.x-k8s.io "bad" is invalid: `, "spec.replicas: Invalid value: -1", "greater than or equal to 0")
		invalid(t, post("sandboxclaims", of("SandboxClaim", map[string]any{
			"sandboxTemplateRef": map[string]any{"name": "t"},
			"lifecycle":          map[string]any{"ttlSecondsAfterFinished": -1},
		})), "spec.lifecycle.ttlSecondsAfterFinished: Invalid value: -1")
		if made := pool(0); made.code != http.StatusCreated {
			t.Fatalf("an empty pool: %d %s", made.code, made.body)
		}
		scale := send(t, admin, http.MethodPatch, groupVersion+"/namespaces/"+ns+"/sandboxwarmpools/bad/scale", mergePatch, `{"spec":{"replicas":-1}}`)
		if scale.code != http.StatusUnprocessableEntity {
			t.Errorf("scale to -1: %d %s", scale.code, scale.body)
		}
	})
	t.Run("what is missing or unknown", func(t *testing.T) {
		invalid(t, post("sandboxes", of("Sandbox", map[string]any{})), "spec.podTemplate: Required value")
		invalid(t, sandbox(func(spec map[string]any) { spec["operatingMode"] = "Sleeping" }),
			`spec.operatingMode: Unsupported value: "Sleeping": supported values: "Running", "Suspended"`)
		invalid(t, sandbox(func(spec map[string]any) { spec["isolation"] = map[string]any{"level": "Hope"} }), "spec.isolation.level: Unsupported value")
		invalid(t, post("sandboxclaims", of("SandboxClaim", map[string]any{})), "sandboxTemplateRef")
		invalid(t, post("sandboxes", cluster.Sandbox(ns, "Bad_Name").Object), "metadata.name: Invalid value", "lowercase RFC 1123")
	})
	t.Run("wrong types", func(t *testing.T) {
		for _, got := range []response{
			sandbox(func(spec map[string]any) { spec["service"] = "yes" }),
			sandbox(func(spec map[string]any) { spec["shutdownTime"] = "tomorrow" }),
			post("sandboxes", map[string]any{"apiVersion": cluster.GroupVersion, "kind": "Sandbox", "metadata": map[string]any{"name": "bad"}, "spec": []any{}}),
		} {
			if got.code != http.StatusBadRequest && got.code != http.StatusUnprocessableEntity {
				t.Errorf("%d %s", got.code, got.body)
			}
		}
	})
	t.Run("changed volumeClaimTemplates", func(t *testing.T) {
		createSandbox(t, ns, "fixed", cluster.Suspended, cluster.WithWorkspace)
		for _, patch := range []string{
			`[{"op":"replace","path":"/spec/volumeClaimTemplates/0/spec/resources/requests/storage","value":"32Mi"}]`,
			`[{"op":"remove","path":"/spec/volumeClaimTemplates"}]`,
		} {
			got := send(t, admin, http.MethodPatch, sandboxPath(ns, "fixed"), jsonPatch, patch)
			invalid(t, got, `Sandbox.sandbox.x-k8s.io "fixed" is invalid: `, "spec.volumeClaimTemplates: ", "volumeClaimTemplates is immutable")
		}
	})
}

func TestUnknownPathsAndMethods(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "there", cluster.Suspended)
	one := sandboxPath(ns, "there")
	const nothing = "the server could not find the requested resource"
	for _, path := range []string{one + "/frobnicate", one + "/suspend/more", groupVersion + "/namespaces/" + ns + "/boxes", groupVersion + "/boxes"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			mustFail(t, send(t, admin, method, path, asJSON, "{}"), http.StatusNotFound, "NotFound", nothing)
		}
	}
	const never = "the server does not allow this method on the requested resource"
	for _, request := range [][2]string{
		{http.MethodPut, sandboxesPath(ns)},
		{http.MethodPatch, sandboxesPath(ns)},
		{http.MethodPost, one},
		{http.MethodPost, one + "/status"},
		{http.MethodDelete, one + "/status"},
		{http.MethodGet, one + "/suspend"},
		{http.MethodDelete, one + "/resume"},
	} {
		mustFail(t, send(t, admin, request[0], request[1], mergePatch, "{}"), http.StatusMethodNotAllowed, "MethodNotAllowed", never)
	}
}

func TestActionsOnWhatIsNotThere(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "asleep", cluster.Suspended)
	before := waitSuspended(t, ns, "asleep")
	answer := &unstructured.Unstructured{Object: mustAct(t, ns, "asleep", "suspend", "wait=true&timeout=5s").object(t)}
	if answer.GetResourceVersion() != before.GetResourceVersion() {
		t.Errorf("a suspend of what is suspended wrote: %s, then %s", before.GetResourceVersion(), answer.GetResourceVersion())
	}
	mustAct(t, ns, "asleep", "suspend", "")

	missing := func(name string) string { return fmt.Sprintf("sandboxes.sandbox.x-k8s.io %q not found", name) }
	kubectl(t, "delete", "sandbox", "asleep", "-n", ns)
	for _, action := range []string{"suspend", "resume"} {
		mustFail(t, act(t, admin, ns, "asleep", action, "wait=true"), http.StatusNotFound, "NotFound", missing("asleep"))
		mustFail(t, act(t, admin, ns, "never", action, ""), http.StatusNotFound, "NotFound", missing("never"))
	}

	createSandbox(t, ns, "awake", cluster.Suspended)
	for _, query := range []string{"wait=maybe", "wait=true&timeout=-1s", "wait=true&timeout=soon", "dryRun=All"} {
		fails(t, act(t, admin, ns, "awake", "suspend", query), http.StatusBadRequest, "BadRequest")
	}
}

func TestForeignPodIsNotTouched(t *testing.T) {
	calm(t)
	ns := namespace(t)
	made, err := dyn.Resource(cluster.Pods).Namespace(ns).Create(context.Background(), cluster.Pod(ns, "taken"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	createSandbox(t, ns, "taken")
	sandbox := waitSandbox(t, ns, "taken", "not Ready because of the Pod", func(sandbox *unstructured.Unstructured) bool {
		_, reason, _ := cluster.Condition(sandbox, "Ready")
		return reason == "ReconcilerError"
	})
	status, _, message := cluster.Condition(sandbox, "Ready")
	if status != "False" || !strings.Contains(message, "taken") {
		t.Errorf("Ready is %s: %s", status, message)
	}
	untouched := func() {
		t.Helper()
		pod := get(t, cluster.Pods, ns, "taken")
		if pod.GetUID() != made.GetUID() || pod.GetDeletionTimestamp() != nil || len(pod.GetOwnerReferences()) != 0 || len(pod.GetLabels()) != 0 {
			t.Errorf("the foreign Pod is %s", show(pod.Object["metadata"]))
		}
	}
	untouched()
	mustAct(t, ns, "taken", "suspend", "")
	// It has no Pod of its own: whether it says so, or names the foreign one, it is not Ready.
	waitSandbox(t, ns, "taken", "suspended beside the foreign Pod", func(sandbox *unstructured.Unstructured) bool {
		_, reason, _ := cluster.Condition(sandbox, "Suspended")
		return !isReady(sandbox) && (isSuspended(sandbox) || reason == "PodNotOwned")
	})
	untouched()
	kubectl(t, "delete", "sandbox", "taken", "-n", ns)
	untouched()
	// Once the name is free it is used.
	createSandbox(t, ns, "taken")
	waitSandbox(t, ns, "taken", "blocked", func(sandbox *unstructured.Unstructured) bool {
		_, reason, _ := cluster.Condition(sandbox, "Ready")
		return reason == "ReconcilerError"
	})
	kubectl(t, "delete", "pod", "taken", "-n", ns)
	waitReady(t, ns, "taken")
}

func TestUnpullableImageIsTold(t *testing.T) {
	calm(t)
	ns := namespace(t)
	const image = "docker.io/local/absent:1"
	createSandbox(t, ns, "imageless", withImage(image))
	sandbox := waitSandbox(t, ns, "imageless", "clear about its image", func(sandbox *unstructured.Unstructured) bool {
		_, _, message := cluster.Condition(sandbox, "Ready")
		return strings.Contains(message, "ErrImageNeverPull")
	})
	status, reason, message := cluster.Condition(sandbox, "Ready")
	if status != "False" || reason != "DependenciesNotReady" || !strings.Contains(message, image) {
		t.Errorf("Ready is %s %s: %s", status, reason, message)
	}
}
