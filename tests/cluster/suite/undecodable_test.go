package suite

import (
	"context"
	"net/http"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// putRaw bytes where our server keeps the Sandbox, as a broken disk or a hand at etcdctl would.
func putRaw(t *testing.T, ns, name, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := etcdClient(t).Put(ctx, storedKey(ns, name), value); err != nil {
		t.Fatal(err)
	}
}

func storedKey(ns, name string) string {
	return "/registry/" + cluster.Group + "/sandboxes/" + ns + "/" + name
}

// removeRaw whatever the test leaves there, so that the namespace can end.
func removeRaw(t *testing.T, ns, name string) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{env.SandboxEtcd}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := client.Delete(ctx, storedKey(ns, name)); err != nil {
		t.Error(err)
	}
}

// What can't be decoded is told, by name, by whatever reads it, and hidden from nobody; the rest of the server goes on.
func TestUndecodableObjectsAreTold(t *testing.T) {
	// Lists of everything fail while it is there: of the loop, and of others' tests.
	alone(t)
	for what, value := range map[string]string{"nonsense": "\x00\xff\xfe nonsense", "half": `{"apiVersion":"` + cluster.GroupVersion + `","kind":"Sandbox","metadata":{"na`, "nothing": ""} {
		t.Run(what, func(t *testing.T) {
			ns, calmNs := namespace(t), namespace(t)
			createSandbox(t, ns, "sound", cluster.Suspended)
			createSandbox(t, ns, "broken", cluster.Suspended)
			createSandbox(t, calmNs, "elsewhere", cluster.Suspended)
			waitSuspended(t, ns, "broken")
			t.Cleanup(func() { removeRaw(t, ns, "broken") })
			before := revisionNow(t, ns)
			putRaw(t, ns, "broken", value)
			broken := func(what string, got response) {
				t.Helper()
				if got.code != http.StatusInternalServerError || !strings.Contains(got.body, storedKey(ns, "broken")) {
					t.Errorf("%s: %d %.500s", what, got.code, got.body)
				}
			}
			broken("get", send(t, admin, http.MethodGet, sandboxPath(ns, "broken"), "", ""))
			broken("list", send(t, admin, http.MethodGet, sandboxesPath(ns), "", ""))
			broken("list of all", send(t, admin, http.MethodGet, groupVersion+"/sandboxes", "", ""))
			broken("patch", send(t, admin, http.MethodPatch, sandboxPath(ns, "broken"), mergePatch, `{"metadata":{"labels":{"a":"b"}}}`))
			broken("delete", send(t, admin, http.MethodDelete, sandboxPath(ns, "broken"), "", ""))

			watch := open(t, admin, sandboxesPath(ns)+"?watch=1&timeoutSeconds=30&resourceVersion="+show(before), asJSON)
			status := watch.expect(t, "ERROR")
			if message, _ := status["message"].(string); status["code"] != float64(http.StatusInternalServerError) || !strings.Contains(message, storedKey(ns, "broken")) {
				t.Errorf("the watch was told %s", show(status))
			}
			if got := send(t, admin, http.MethodGet, sandboxPath(ns, "sound"), "", ""); got.code != http.StatusOK {
				t.Errorf("the sound one: %d %s", got.code, got.body)
			}
			if got := send(t, admin, http.MethodGet, sandboxesPath(calmNs), "", ""); got.code != http.StatusOK {
				t.Errorf("another namespace: %d %s", got.code, got.body)
			}
		})
	}
}
