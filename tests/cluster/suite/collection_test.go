package suite

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

func TestForegroundDeleteWaitsForThePod(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "front", cluster.WithService)
	waitReady(t, ns, "front")
	kubectl(t, "delete", "sandbox", "front", "-n", ns, "--cascade=foreground", "--timeout=90s")
	if got := tryKubectl(t, "", "get", "pod", "front", "-n", ns); !strings.Contains(got.stderr, "NotFound") {
		t.Errorf("the Pod outlived its Sandbox: %s%s", got.stdout, got.stderr)
	}
	waitGone(t, cluster.Services, ns, "front")
}

func TestOrphanDeleteKeepsThePod(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "parent", cluster.WithService)
	waitReady(t, ns, "parent")
	uid := podUID(t, ns, "parent")
	kubectl(t, "delete", "sandbox", "parent", "-n", ns, "--cascade=orphan", "--timeout=90s")
	waitGone(t, cluster.Sandboxes, ns, "parent")
	pod := get(t, cluster.Pods, ns, "parent")
	if string(pod.GetUID()) != uid || len(pod.GetOwnerReferences()) != 0 || pod.GetDeletionTimestamp() != nil {
		t.Errorf("the orphan is %s", show(pod.Object["metadata"]))
	}
	if owners := get(t, cluster.Services, ns, "parent").GetOwnerReferences(); len(owners) != 0 {
		t.Errorf("the orphaned Service has owners %s", show(owners))
	}
}

func TestFinalizersHoldASandbox(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ctx := context.Background()
	sandbox := cluster.Sandbox(ns, "held")
	sandbox.SetFinalizers([]string{"suite.local/hold"})
	if _, err := sandboxes(ns).Create(ctx, sandbox, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	release := func() error {
		_, err := sandboxes(ns).Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		return err
	}
	// Else a failure below would hold the namespace as well.
	t.Cleanup(func() {
		if err := release(); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	waitReady(t, ns, "held")
	kubectl(t, "delete", "sandbox", "held", "-n", ns, "--wait=false")
	if held := getSandbox(t, ns, "held"); held.GetDeletionTimestamp() == nil || !slices.Contains(held.GetFinalizers(), "suite.local/hold") {
		t.Errorf("held is %s", show(held.Object["metadata"]))
	}
	adds := []byte(`{"metadata":{"finalizers":["suite.local/hold","suite.local/more"]}}`)
	if _, err := sandboxes(ns).Patch(ctx, "held", types.MergePatchType, adds, metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a finalizer was added to what is being deleted: %v", err)
	}
	// A second delete changes nothing.
	kubectl(t, "delete", "sandbox", "held", "-n", ns, "--wait=false")
	if err := release(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, cluster.Sandboxes, ns, "held")
	waitGone(t, cluster.Pods, ns, "held")
}

func TestDeletePreconditionsAndCollections(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ctx := context.Background()
	for i := range 4 {
		sandbox := cluster.Sandbox(ns, fmt.Sprintf("many-%d", i), cluster.Suspended)
		sandbox.SetLabels(map[string]string{"half": fmt.Sprint(i % 2)})
		if _, err := sandboxes(ns).Create(ctx, sandbox, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wrong := types.UID("11111111-2222-3333-4444-555555555555")
	err := sandboxes(ns).Delete(ctx, "many-0", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}})
	uid := getSandbox(t, ns, "many-0").GetUID()
	want := fmt.Sprintf("Operation cannot be fulfilled on sandboxes.sandbox.x-k8s.io \"many-0\": Precondition failed: UID in precondition: %s, UID in object meta: %s", wrong, uid)
	if !apierrors.IsConflict(err) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := sandboxes(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "half=1"}); err != nil {
		t.Fatal(err)
	}
	list, err := sandboxes(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Items {
		if item.GetLabels()["half"] != "0" {
			t.Errorf("%s is still there", item.GetName())
		}
	}
	if len(list.Items) != 2 {
		t.Errorf("%d are left, want 2", len(list.Items))
	}
}

func TestNamespaceWithTenSandboxesEnds(t *testing.T) {
	calm(t)
	// As people do it: the Sandboxes follow the namespace at once, before it has a ServiceAccount.
	const name = "suite-of-ten"
	deleteNamespace(t, name)
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() { deleteNamespace(t, name) })
	var text string
	for i := range 10 {
		text += manifest(t, cluster.Sandbox(name, fmt.Sprintf("ten-%d", i), cluster.WithService))
	}
	pipe(t, text, "create", "-f", "-")
	for i := range 10 {
		waitReady(t, name, fmt.Sprintf("ten-%d", i))
	}
	kubectl(t, "delete", "namespace", name, "--timeout=120s")
	got := send(t, admin, http.MethodGet, sandboxesPath(name), "", "")
	if items, _ := got.object(t)["items"].([]any); got.code != http.StatusOK || len(items) != 0 {
		t.Errorf("left in the deleted namespace: %d %s", got.code, got.body)
	}
}

func TestNamespaceMustBeThere(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ctx := context.Background()
	create := func(namespace string) response {
		t.Helper()
		return send(t, admin, http.MethodPost, sandboxesPath(namespace), asJSON, show(cluster.Sandbox(namespace, "late").Object))
	}
	mustFail(t, create("suite-nowhere"), http.StatusNotFound, "NotFound", `namespaces "suite-nowhere" not found`)

	// Something that holds the namespace in its end.
	holder := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "holder", Finalizers: []string{"suite.local/hold"}}}
	if _, err := core.CoreV1().ConfigMaps(ns).Create(ctx, holder, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := core.CoreV1().ConfigMaps(ns).Patch(ctx, "holder", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Errorf("release the namespace: %v", err)
		}
	})
	createSandbox(t, ns, "early", cluster.Suspended)
	if err := core.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	message := `sandboxes.sandbox.x-k8s.io "late" is forbidden: unable to create new content in namespace ` + ns + ` because it is being terminated`
	eventually(t, "403 for a terminating namespace", patience, func() (bool, string) {
		got := create(ns)
		// What got in before our server learned of the end goes with the namespace.
		return got.code == http.StatusForbidden, got.body
	})
	got := create(ns)
	mustFail(t, got, http.StatusForbidden, "Forbidden", message)
	mustContain(t, "cause", got.body, `"NamespaceTerminating"`, `"metadata.namespace"`)
	waitGone(t, cluster.Sandboxes, ns, "early")
}
