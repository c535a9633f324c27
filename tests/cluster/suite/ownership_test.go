package suite

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// owned by an object of any kind; it blocks the owner's deletion in the foreground.
func ownedBy(owner *unstructured.Unstructured) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{
		APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(), BlockOwnerDeletion: &yes,
	}}
}

func configMap(t *testing.T, ns, name string, owners []metav1.OwnerReference) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	object.SetName(name)
	object.SetOwnerReferences(owners)
	made, err := dyn.Resource(cluster.ConfigMaps).Namespace(ns).Create(context.Background(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create ConfigMap %s: %v", name, err)
	}
	return made
}

func ownedSandbox(t *testing.T, ns, name string, owners []metav1.OwnerReference) *unstructured.Unstructured {
	t.Helper()
	sandbox := cluster.Sandbox(ns, name, cluster.Suspended)
	sandbox.SetOwnerReferences(owners)
	made, err := sandboxes(ns).Create(context.Background(), sandbox, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create sandbox %s: %v", name, err)
	}
	return made
}

// families of an owner and what it owns, over the border between the two servers and within ours.
var families = map[string]struct {
	owner, dependent      schema.GroupVersionResource
	makeOwner, makeTheirs func(*testing.T, string, string, []metav1.OwnerReference) *unstructured.Unstructured
}{
	"a ConfigMap owns a Sandbox": {cluster.ConfigMaps, cluster.Sandboxes, configMap, ownedSandbox},
	"a Sandbox owns a ConfigMap": {cluster.Sandboxes, cluster.ConfigMaps, ownedSandbox, configMap},
	"a Sandbox owns a Sandbox":   {cluster.Sandboxes, cluster.Sandboxes, ownedSandbox, ownedSandbox},
}

func TestGarbageCollectorKnowsOwners(t *testing.T) {
	calm(t)
	for name, family := range families {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			remove := func(name string, policy metav1.DeletionPropagation) {
				t.Helper()
				err := dyn.Resource(family.owner).Namespace(ns).Delete(context.Background(), name, metav1.DeleteOptions{PropagationPolicy: &policy})
				if err != nil {
					t.Fatalf("delete %s: %v", name, err)
				}
			}
			pairOf := func(name string) {
				t.Helper()
				owner := family.makeOwner(t, ns, name, nil)
				family.makeTheirs(t, ns, name+"-child", ownedBy(owner))
				// The collector follows each resource by a watch of its own: it may hear of the owner's deletion before
				// it hears of the child, and then lets the owner go. Whoever comes after the child on the child's watch
				// and was collected shows that it knows the child.
				family.makeTheirs(t, ns, name+"-after", ownedBy(nobody(family.owner)))
				waitGone(t, family.dependent, ns, name+"-after")
			}
			pairOf("background")
			remove("background", metav1.DeletePropagationBackground)
			waitGone(t, family.owner, ns, "background")
			waitGone(t, family.dependent, ns, "background-child")

			pairOf("foreground")
			// Whoever is held holds its owner: that proves the order.
			hold(t, family.dependent, ns, "foreground-child", true)
			remove("foreground", metav1.DeletePropagationForeground)
			eventually(t, "dependent that is being deleted", patience, func() (bool, string) {
				child := get(t, family.dependent, ns, "foreground-child")
				return child.GetDeletionTimestamp() != nil, show(child.Object["metadata"])
			})
			if owner := get(t, family.owner, ns, "foreground"); owner.GetDeletionTimestamp() == nil {
				t.Errorf("the owner is %s", show(owner.Object["metadata"]))
			}
			hold(t, family.dependent, ns, "foreground-child", false)
			waitGone(t, family.dependent, ns, "foreground-child")
			waitGone(t, family.owner, ns, "foreground")

			pairOf("orphan")
			remove("orphan", metav1.DeletePropagationOrphan)
			waitGone(t, family.owner, ns, "orphan")
			child := get(t, family.dependent, ns, "orphan-child")
			if child.GetDeletionTimestamp() != nil || len(child.GetOwnerReferences()) != 0 {
				t.Errorf("the orphan is %s", show(child.Object["metadata"]))
			}
		})
	}
}

// hold by a finalizer, or let go.
func hold(t *testing.T, resource schema.GroupVersionResource, ns, name string, held bool) {
	t.Helper()
	finalizers := []string{"suite.local/hold"}
	if !held {
		finalizers = nil
	}
	body := []byte(show(map[string]any{"metadata": map[string]any{"finalizers": finalizers}}))
	if _, err := dyn.Resource(resource).Namespace(ns).Patch(context.Background(), name, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		t.Fatalf("hold %s %v: %v", name, held, err)
	}
}

// nobody is an owner that never was.
func nobody(resource schema.GroupVersionResource) *unstructured.Unstructured {
	kind := map[string]string{"configmaps": "ConfigMap", "sandboxes": "Sandbox"}[resource.Resource]
	absent := &unstructured.Unstructured{Object: map[string]any{"apiVersion": resource.GroupVersion().String(), "kind": kind}}
	absent.SetName("never")
	absent.SetUID("11111111-2222-3333-4444-555555555555")
	return absent
}

// One whose owner never was is collected; so is one whose owner has another UID than it says.
func TestGarbageCollectorEndsWhatHasNoOwner(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ownedSandbox(t, ns, "lost", ownedBy(nobody(cluster.Sandboxes)))
	configMap(t, ns, "lost", ownedBy(nobody(cluster.Sandboxes)))
	waitGone(t, cluster.Sandboxes, ns, "lost")
	waitGone(t, cluster.ConfigMaps, ns, "lost")
}

func TestQuotaCountsSandboxes(t *testing.T) {
	calm(t)
	ns := namespace(t)
	const counted = corev1.ResourceName("count/sandboxes." + cluster.Group)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: resource.MustParse("100")}},
	}
	if _, err := core.CoreV1().ResourceQuotas(ns).Create(context.Background(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	used := func(want int64, poke bool) {
		t.Helper()
		i := 0
		eventually(t, fmt.Sprintf("quota that counts %d", want), 2*patience, func() (bool, string) {
			found, err := core.CoreV1().ResourceQuotas(ns).Get(context.Background(), "few", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			if count, known := found.Status.Used[counted]; known && count.Value() == want {
				return true, ""
			}
			if i++; poke && i%20 == 0 {
				touch(t, ns, i)
			}
			return false, show(found.Status)
		})
	}
	used(0, true)
	for i := range 3 {
		createSandbox(t, ns, fmt.Sprintf("counted-%d", i), cluster.Suspended)
	}
	// A create is counted by whoever admits it, and nobody does for our kinds: the controller counts them every five
	// minutes, or when the quota changes.
	used(3, true)
	// Deletions it watches.
	kubectl(t, "delete", "sandbox", "counted-1", "-n", ns)
	used(2, false)
}

// touch the quota's limit, by which the controller looks at once.
func touch(t *testing.T, ns string, i int) {
	t.Helper()
	body := fmt.Sprintf(`{"spec":{"hard":{"count/sandboxes.%s":"%d"}}}`, cluster.Group, 100+i)
	if _, err := core.CoreV1().ResourceQuotas(ns).Patch(context.Background(), "few", types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
