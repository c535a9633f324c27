package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// Long enough for a loaded machine of two cores; a test that waits this long has failed.
const patience = 90 * time.Second

// namespace makes one for the test and deletes it to the end: it proves on the way that no test leaves
// behind what the namespace controller cannot remove.
func namespace(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	made, err := core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "suite-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a namespace: %v", err)
	}
	t.Cleanup(func() { deleteNamespace(t, made.Name) })
	// No Pod is admitted before the namespace's ServiceAccount is there.
	eventually(t, "default ServiceAccount", patience, func() (bool, string) {
		_, err := core.CoreV1().ServiceAccounts(made.Name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	return made.Name
}

func deleteNamespace(t *testing.T, name string) {
	t.Helper()
	ctx := context.Background()
	err := core.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("delete namespace %s: %v", name, err)
	}
	eventually(t, "end of namespace "+name, 2*patience, func() (bool, string) {
		found, err := core.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), show(found.Status)
	})
}

// eventually polls: everything a test waits for has a name, a deadline, and a last state to print.
func eventually(t *testing.T, what string, limit time.Duration, probe func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		done, state := probe()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %v; last seen: %s", what, limit, state)
		}
		<-ticker.C
	}
}

func sandboxes(namespace string) dynamic.ResourceInterface {
	return dyn.Resource(cluster.Sandboxes).Namespace(namespace)
}

func createSandbox(t *testing.T, namespace, name string, options ...func(map[string]any)) *unstructured.Unstructured {
	t.Helper()
	made, err := sandboxes(namespace).Create(context.Background(),
		cluster.Sandbox(namespace, name, options...), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create sandbox %s: %v", name, err)
	}
	return made
}

func getSandbox(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	return get(t, cluster.Sandboxes, namespace, name)
}

func get(t *testing.T, resource schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	found, err := dyn.Resource(resource).Namespace(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("get %s %s: %v", resource.Resource, name, err)
	}
	return found
}

// waitSandbox until the probe likes it; hands back what it liked.
func waitSandbox(t *testing.T, namespace, name, what string, probe func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	var found *unstructured.Unstructured
	eventually(t, fmt.Sprintf("sandbox %s that is %s", name, what), patience, func() (bool, string) {
		var err error
		found, err = sandboxes(namespace).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return probe(found), show(found.Object["status"])
	})
	return found
}

func waitReady(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	return waitSandbox(t, namespace, name, "Ready", isReady)
}

func waitSuspended(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	return waitSandbox(t, namespace, name, "suspended", isSuspended)
}

func isReady(sandbox *unstructured.Unstructured) bool {
	status, _, _ := cluster.Condition(sandbox, "Ready")
	return status == "True"
}

func isSuspended(sandbox *unstructured.Unstructured) bool {
	status, reason, _ := cluster.Condition(sandbox, "Suspended")
	return status == "True" && reason == "PodTerminated"
}

func phase(sandbox *unstructured.Unstructured) string {
	text, _, _ := unstructured.NestedString(sandbox.Object, "status", "phase")
	return text
}

func waitGone(t *testing.T, resource schema.GroupVersionResource, namespace, name string) {
	t.Helper()
	eventually(t, fmt.Sprintf("end of %s %s", resource.Resource, name), patience, func() (bool, string) {
		found, err := dyn.Resource(resource).Namespace(namespace).Get(context.Background(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, ""
		}
		if err != nil {
			return false, err.Error()
		}
		return false, show(found.Object["metadata"])
	})
}

// podUID of the Pod by that name, which must be there.
func podUID(t *testing.T, namespace, name string) string {
	t.Helper()
	return string(get(t, cluster.Pods, namespace, name).GetUID())
}

func manifest(t *testing.T, objects ...*unstructured.Unstructured) string {
	t.Helper()
	var text string
	for _, object := range objects {
		document, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		text += "---\n" + string(document)
	}
	return text
}

func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
