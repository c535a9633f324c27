package suite

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const unsafeDelete = `{"kind":"DeleteOptions","apiVersion":"v1","ignoreStoreReadErrorWithClusterBreakingPotential":true}`

// The reasons and causes that tell an administrator which objects to delete.
func TestUndecodableObjectsAreListedByKey(t *testing.T) {
	alone(t)
	ns := namespace(t)
	for _, name := range []string{"broken-1", "broken-2"} {
		t.Cleanup(func() { removeRaw(t, ns, name) })
		putRaw(t, ns, name, "nonsense")
	}
	createSandbox(t, ns, "sound", cluster.Suspended)
	got := send(t, admin, http.MethodGet, sandboxesPath(ns), "", "")
	var status metav1.Status
	if err := json.Unmarshal([]byte(got.body), &status); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			keys[cause.Field] = cause.Type == metav1.CauseTypeUnexpectedServerResponse
		}
	}
	if got.code != http.StatusInternalServerError || status.Reason != metav1.StatusReasonStoreReadError ||
		!strings.HasPrefix(status.Message, "failed to read one or more sandboxes.sandbox.x-k8s.io from the storage: ") ||
		!keys[storedKey(ns, "broken-1")] || !keys[storedKey(ns, "broken-2")] || len(keys) != 2 {
		t.Errorf("%d %s", got.code, got.body)
	}
}

// Only on purpose, only with a right of its own, and only what is really broken.
func TestUndecodableObjectsAreDeletedOnPurpose(t *testing.T) {
	alone(t)
	ns := namespace(t)
	createSandbox(t, ns, "sound", cluster.Suspended)
	waitSuspended(t, ns, "sound")
	t.Cleanup(func() { removeRaw(t, ns, "broken") })
	putRaw(t, ns, "broken", "nonsense")
	watched := open(t, admin, sandboxesPath(ns)+"?watch=1&timeoutSeconds=60&resourceVersion="+getSandbox(t, ns, "sound").GetResourceVersion(), asJSON)
	watched.expect(t, "ERROR")

	plain := send(t, admin, http.MethodDelete, sandboxPath(ns, "broken"), "", "")
	if plain.code != http.StatusInternalServerError {
		t.Errorf("a plain delete: %d %s", plain.code, plain.body)
	}
	// Its right is a verb of its own.
	deleter := user(t, "suite-deleter")
	role(t, ns, "deletes", "delete")
	bind(t, ns, "Role", "deletes", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "suite-deleter"})
	eventually(t, "right to delete", patience, func() (bool, string) {
		got := send(t, deleter, http.MethodDelete, sandboxPath(ns, "nobody"), "", "")
		return got.code == http.StatusNotFound, got.body
	})
	if got := send(t, deleter, http.MethodDelete, sandboxPath(ns, "broken"), asJSON, unsafeDelete); got.code != http.StatusForbidden {
		t.Errorf("without the right: %d %s", got.code, got.body)
	}
	if got := send(t, admin, http.MethodDelete, sandboxPath(ns, "sound"), asJSON, unsafeDelete); got.code != http.StatusConflict {
		t.Errorf("of a sound one: %d %s", got.code, got.body)
	}
	if got := send(t, admin, http.MethodDelete, sandboxPath(ns, "nobody"), asJSON, unsafeDelete); got.code != http.StatusNotFound {
		t.Errorf("of nobody: %d %s", got.code, got.body)
	}
	mixed := strings.Replace(unsafeDelete, "{", `{"propagationPolicy":"Foreground",`, 1)
	if got := send(t, admin, http.MethodDelete, sandboxPath(ns, "broken"), asJSON, mixed); got.code != http.StatusUnprocessableEntity {
		t.Errorf("with other options: %d %s", got.code, got.body)
	}
	if got := send(t, admin, http.MethodDelete, sandboxPath(ns, "broken"), asJSON, strings.Replace(unsafeDelete, "{", `{"dryRun":["All"],`, 1)); got.code != http.StatusOK {
		t.Errorf("dry run: %d %s", got.code, got.body)
	}
	got := send(t, admin, http.MethodDelete, sandboxPath(ns, "broken"), asJSON, unsafeDelete)
	if got.code != http.StatusOK || got.object(t)["kind"] != "Status" {
		t.Errorf("on purpose: %d %s", got.code, got.body)
	}
	if got := send(t, admin, http.MethodGet, sandboxesPath(ns), "", ""); got.code != http.StatusOK {
		t.Errorf("the list afterwards: %d %s", got.code, got.body)
	}
}

func role(t *testing.T, ns, name string, verbs ...string) {
	t.Helper()
	_, err := core.RbacV1().Roles(ns).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{cluster.Group}, Resources: []string{"sandboxes"}, Verbs: verbs}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
