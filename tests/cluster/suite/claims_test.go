package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const claimUIDLabel = cluster.Group + "/claim-uid"

func object(kind, ns, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": cluster.GroupVersion,
		"kind":       kind,
		"metadata":   map[string]any{"namespace": ns, "name": name},
		"spec":       spec,
	}}
}

// makePool with its template, and waits until it is full.
func makePool(t *testing.T, ns, name string, replicas int64, options ...func(map[string]any)) {
	t.Helper()
	ctx := context.Background()
	blueprint := map[string]any{"podTemplate": map[string]any{"spec": cluster.PodSpec()}}
	for _, option := range options {
		option(blueprint)
	}
	template := object("SandboxTemplate", ns, name, blueprint)
	if _, err := dyn.Resource(cluster.Templates).Namespace(ns).Create(ctx, template, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pool := object("SandboxWarmPool", ns, name, map[string]any{
		"replicas": replicas, "sandboxTemplateRef": map[string]any{"name": name},
	})
	if _, err := dyn.Resource(cluster.WarmPools).Namespace(ns).Create(ctx, pool, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitPool(t, ns, name, replicas)
}

func waitPool(t *testing.T, ns, name string, replicas int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("pool %s with %d", name, replicas), 2*patience, func() (bool, string) {
		pool := get(t, cluster.WarmPools, ns, name)
		ready, _, _ := unstructured.NestedInt64(pool.Object, "status", "readyReplicas")
		all, _, _ := unstructured.NestedInt64(pool.Object, "status", "replicas")
		return ready == replicas && all == replicas, show(pool.Object["status"])
	})
}

func poolPath(ns, name string) string {
	return groupVersion + "/namespaces/" + ns + "/sandboxwarmpools/" + name
}

// claimed by the pool's action; the answer is the claim.
func claimed(t *testing.T, got response, code int) *unstructured.Unstructured {
	t.Helper()
	if got.code != code {
		t.Fatalf("claim: %d %s", got.code, got.body)
	}
	claim := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(got.body), &claim.Object); err != nil {
		t.Fatal(err)
	}
	return claim
}

func boundTo(claim *unstructured.Unstructured, field string) string {
	text, _, _ := unstructured.NestedString(claim.Object, "status", "sandbox", field)
	return text
}

func TestAClaimTakesARunningSandbox(t *testing.T) {
	calm(t)
	ns := namespace(t)
	makePool(t, ns, "pool", 2)
	claim := claimed(t, send(t, admin, http.MethodPost, poolPath(ns, "pool")+"/claim", "", ""), http.StatusCreated)
	name := boundTo(claim, "name")
	if boundTo(claim, "launchType") != "Warm" || boundTo(claim, "nodeName") == "" {
		t.Fatalf("the claim is %s", show(claim.Object))
	}
	if status, reason, _ := cluster.Condition(claim, "Ready"); status != "True" {
		t.Errorf("Ready is %s %s", status, reason)
	}
	// It runs: the Pod is the very one that was in stock, and its label follows.
	uid := podUID(t, ns, name)
	if out := kubectl(t, "exec", "-n", ns, name, "--", "echo", "at work"); out != "at work\n" {
		t.Errorf("exec said %q", out)
	}
	eventually(t, "Pod with the claim's uid", patience, func() (bool, string) {
		labels := get(t, cluster.Pods, ns, name).GetLabels()
		return labels[claimUIDLabel] == string(claim.GetUID()), show(labels)
	})
	if now := podUID(t, ns, name); now != uid {
		t.Errorf("the Pod is another: %s, was %s", now, uid)
	}
	waitPool(t, ns, "pool", 2)
	if count := len(list(t, cluster.Sandboxes, ns)); count != 3 {
		t.Errorf("%d sandboxes, want the claimed one and two in stock", count)
	}
	lines := strings.Split(strings.TrimSpace(kubectl(t, "get", "sbxwp,sbxc", "-n", ns)), "\n")
	var got []string
	for _, line := range lines {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if want := "NAME DESIRED READY CLAIMED/MIN UPDATED TEMPLATE AGE"; got[0] != want {
		t.Errorf("columns of pools %q, want %q", got[0], want)
	}
	if !slices.Contains(got, "NAME SANDBOX READY LAUNCH POOL AGE") {
		t.Errorf("no columns of claims: %q", got)
	}
	// Release by delete: sandbox and Pod go with the claim.
	kubectl(t, "delete", "sandboxclaim", claim.GetName(), "-n", ns)
	waitGone(t, cluster.Sandboxes, ns, name)
	waitGone(t, cluster.Pods, ns, name)
}

func list(t *testing.T, resource schema.GroupVersionResource, ns string) []unstructured.Unstructured {
	t.Helper()
	found, err := dyn.Resource(resource).Namespace(ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found.Items
}

func TestAClaimOfAnEmptyPool(t *testing.T) {
	calm(t)
	ns := namespace(t)
	makePool(t, ns, "empty", 0)
	claims := groupVersion + "/namespaces/" + ns + "/sandboxclaims"
	of := func(name, policy string) string {
		return show(object("SandboxClaim", ns, name, map[string]any{
			"warmPoolRef": map[string]any{"name": "empty"}, "onEmptyPool": policy,
		}).Object)
	}
	refused := send(t, admin, http.MethodPost, claims, asJSON, of("fails", "Fail"))
	mustFail(t, refused, http.StatusServiceUnavailable, "PoolExhausted", `no Sandbox of SandboxWarmPool "empty" is ready`)
	cold := claimed(t, send(t, admin, http.MethodPost, claims+"?wait=ready&timeout=50s", asJSON, of("cold", "ColdStart")), http.StatusCreated)
	if boundTo(cold, "name") != "cold" || boundTo(cold, "launchType") != "Cold" {
		t.Errorf("the claim is %s", show(cold.Object))
	}
	if status, _, _ := cluster.Condition(cold, "Ready"); status != "True" {
		t.Errorf("answered before it was ready: %s", show(cold.Object["status"]))
	}
	late := send(t, admin, http.MethodPost, claims+"?wait=bound&timeout=1s", asJSON, of("waits", "Wait"))
	mustFail(t, late, http.StatusGatewayTimeout, "Timeout", `Timeout: SandboxClaim "waits" was not bound within 1s; it is stored and goes on`)
	kubectl(t, "scale", "sandboxwarmpool", "empty", "-n", ns, "--replicas=1")
	kubectl(t, "wait", "-n", ns, "--for=condition=Ready", "sandboxclaim/waits", "--timeout=90s")
	if waits := get(t, cluster.SandboxClaims, ns, "waits"); boundTo(waits, "launchType") != "Warm" {
		t.Errorf("the claim is %s", show(waits.Object["status"]))
	}
	// What is in stock goes with the pool; what is claimed stays.
	waitPool(t, ns, "empty", 1)
	kubectl(t, "delete", "sandboxwarmpool", "empty", "-n", ns)
	eventually(t, "end of the stock", patience, func() (bool, string) {
		left := list(t, cluster.Sandboxes, ns)
		return len(left) == 2, fmt.Sprint(len(left))
	})
}

func TestTheRightToClaim(t *testing.T) {
	calm(t)
	ns := namespace(t)
	users := makeUsers(t, ns)
	makePool(t, ns, "pool", 1)
	_, err := core.RbacV1().Roles(ns).Create(context.Background(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "claimant"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{cluster.Group}, Resources: []string{"sandboxwarmpools/claim"},
			ResourceNames: []string{"pool"}, Verbs: []string{"create"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bindUser(t, ns, "Role", "claimant", "claimant-of-"+ns)
	claimant := user(t, "claimant-of-"+ns)
	path := poolPath(ns, "pool") + "/claim"
	eventually(t, "right to claim", patience, func() (bool, string) {
		got := send(t, claimant, http.MethodPost, path+"?dryRun=All", "", "")
		return got.code == http.StatusCreated, got.body
	})
	if got := claimed(t, send(t, claimant, http.MethodPost, path, "", ""), http.StatusCreated); boundTo(got, "name") == "" {
		t.Errorf("not bound: %s", show(got.Object))
	}
	// That right, and no other.
	body := show(object("SandboxClaim", ns, "other", map[string]any{"warmPoolRef": map[string]any{"name": "pool"}}).Object)
	for what, got := range map[string]response{
		"another pool":   send(t, claimant, http.MethodPost, poolPath(ns, "other")+"/claim", "", ""),
		"a plain create": send(t, claimant, http.MethodPost, groupVersion+"/namespaces/"+ns+"/sandboxclaims", asJSON, body),
		"a viewer":       send(t, users.viewer, http.MethodPost, path, "", ""),
	} {
		if got.code != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, got.code, got.body)
		}
	}
	if got := send(t, users.editor, http.MethodPost, path, "", ""); got.code != http.StatusCreated {
		t.Errorf("an editor: %d %s", got.code, got.body)
	}
}
