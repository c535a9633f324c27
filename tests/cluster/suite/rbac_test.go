package suite

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// users of a namespace: the two built-in roles that ours are added to, and one who may do one thing.
type users struct{ viewer, editor, suspender *rest.Config }

func makeUsers(t *testing.T, ns string) users {
	t.Helper()
	name := func(role string) string { return role + "-of-" + ns }
	bindUser(t, ns, "ClusterRole", "view", name("viewer"))
	bindUser(t, ns, "ClusterRole", "edit", name("editor"))
	_, err := core.RbacV1().Roles(ns).Create(context.Background(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "suspender"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{cluster.Group}, Resources: []string{"sandboxes/suspend"}, Verbs: []string{"create"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bindUser(t, ns, "Role", "suspender", name("suspender"))
	made := users{user(t, name("viewer")), user(t, name("editor")), user(t, name("suspender"))}
	// kube-apiserver learns of roles by a watch of its own.
	for config, probe := range map[*rest.Config][]string{
		made.viewer:    {http.MethodGet, sandboxesPath(ns), ""},
		made.editor:    {http.MethodPost, sandboxesPath(ns) + "?dryRun=All", show(cluster.Sandbox(ns, "probe").Object)},
		made.suspender: {http.MethodPost, sandboxPath(ns, "absent") + "/suspend", ""},
	} {
		eventually(t, "right to "+strings.Join(probe[:2], " "), patience, func() (bool, string) {
			got := send(t, config, probe[0], probe[1], asJSON, probe[2])
			return got.code != http.StatusForbidden, got.body
		})
	}
	return made
}

// cannot is Kubernetes' text.
func cannot(ns, user, verb, resource, name string) string {
	object := "sandboxes.sandbox.x-k8s.io"
	if name != "" {
		object = fmt.Sprintf("%s %q", object, name)
	}
	return fmt.Sprintf("%s is forbidden: User %q cannot %s resource %q in API group \"sandbox.x-k8s.io\" in the namespace %q",
		object, user+"-of-"+ns, verb, resource, ns)
}

func TestThreeUsers(t *testing.T) {
	calm(t)
	ns := namespace(t)
	users := makeUsers(t, ns)
	createSandbox(t, ns, "shared")
	waitReady(t, ns, "shared")
	one := sandboxPath(ns, "shared")
	body := func(name string) string { return show(cluster.Sandbox(ns, name, cluster.Suspended).Object) }
	forbid := func(t *testing.T, got response, message string) {
		t.Helper()
		mustFail(t, got, http.StatusForbidden, "Forbidden", message)
	}
	allow := func(t *testing.T, what string, got response, code int) {
		t.Helper()
		if got.code != code {
			t.Errorf("%s: %d %s", what, got.code, got.body)
		}
	}

	// The front decides first, our server decides again: the answers are the same, to the letter.
	for way, through := range map[string]func(*rest.Config) *rest.Config{
		"through the front": func(config *rest.Config) *rest.Config { return config },
		"directly":          func(config *rest.Config) *rest.Config { return asDirectly(t, config) },
	} {
		t.Run("viewer "+way, func(t *testing.T) {
			viewer := through(users.viewer)
			allow(t, "list", send(t, viewer, http.MethodGet, sandboxesPath(ns), "", ""), http.StatusOK)
			allow(t, "get", send(t, viewer, http.MethodGet, one, "", ""), http.StatusOK)
			allow(t, "get status", send(t, viewer, http.MethodGet, one+"/status", "", ""), http.StatusOK)
			forbid(t, send(t, viewer, http.MethodPost, sandboxesPath(ns), asJSON, body("a")), cannot(ns, "viewer", "create", "sandboxes", ""))
			forbid(t, send(t, viewer, http.MethodPut, one, asJSON, body("shared")), cannot(ns, "viewer", "update", "sandboxes", "shared"))
			forbid(t, send(t, viewer, http.MethodPatch, one, mergePatch, "{}"), cannot(ns, "viewer", "patch", "sandboxes", "shared"))
			forbid(t, send(t, viewer, http.MethodPatch, one+"/status", mergePatch, "{}"), cannot(ns, "viewer", "patch", "sandboxes/status", "shared"))
			forbid(t, send(t, viewer, http.MethodDelete, one, "", ""), cannot(ns, "viewer", "delete", "sandboxes", "shared"))
			forbid(t, send(t, viewer, http.MethodDelete, sandboxesPath(ns), "", ""), cannot(ns, "viewer", "deletecollection", "sandboxes", ""))
			forbid(t, act(t, viewer, ns, "shared", "suspend", ""), cannot(ns, "viewer", "create", "sandboxes/suspend", "shared"))
			elsewhere := send(t, viewer, http.MethodGet, sandboxesPath("default"), "", "")
			forbid(t, elsewhere, strings.ReplaceAll(cannot(ns, "viewer", "list", "sandboxes", ""), `namespace "`+ns, `namespace "default`))
		})
		t.Run("editor "+way, func(t *testing.T) {
			editor := through(users.editor)
			allow(t, "create", send(t, editor, http.MethodPost, sandboxesPath(ns), asJSON, body("mine")), http.StatusCreated)
			allow(t, "patch", send(t, editor, http.MethodPatch, sandboxPath(ns, "mine"), mergePatch, `{"metadata":{"labels":{"a":"b"}}}`), http.StatusOK)
			allow(t, "suspend", act(t, editor, ns, "mine", "suspend", ""), http.StatusOK)
			allow(t, "delete", send(t, editor, http.MethodDelete, sandboxPath(ns, "mine"), "", ""), http.StatusOK)
			// Status is the server's.
			forbid(t, send(t, editor, http.MethodPatch, one+"/status", mergePatch, "{}"), cannot(ns, "editor", "patch", "sandboxes/status", "shared"))
		})
		t.Run("suspender "+way, func(t *testing.T) {
			suspender := through(users.suspender)
			allow(t, "suspend", act(t, suspender, ns, "shared", "suspend", ""), http.StatusOK)
			forbid(t, act(t, suspender, ns, "shared", "resume", ""), cannot(ns, "suspender", "create", "sandboxes/resume", "shared"))
			forbid(t, send(t, suspender, http.MethodGet, one, "", ""), cannot(ns, "suspender", "get", "sandboxes", "shared"))
			forbid(t, send(t, suspender, http.MethodPatch, one, mergePatch, `{"spec":{"operatingMode":"Running"}}`), cannot(ns, "suspender", "patch", "sandboxes", "shared"))
			// A right on sandboxes/suspend is none on other objects' existence: kubectl says the same.
			allow(t, "suspend of nothing", act(t, suspender, ns, "absent", "suspend", ""), http.StatusNotFound)
		})
	}
}

func TestWhoIsAsking(t *testing.T) {
	calm(t)
	ns := namespace(t)
	users := makeUsers(t, ns)
	viewerName := "viewer-of-" + ns
	list := func(t *testing.T, config *rest.Config, header http.Header) response {
		t.Helper()
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		got, err := exchange(client, config.Host, http.MethodGet, sandboxesPath(ns), "", http.NoBody, header)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	remote := func(name string, groups ...string) http.Header {
		return http.Header{"X-Remote-User": {name}, "X-Remote-Group": groups}
	}
	anonymous := "sandboxes.sandbox.x-k8s.io is forbidden: User \"system:anonymous\" cannot list resource \"sandboxes\" in API group \"sandbox.x-k8s.io\" in the namespace \"" + ns + "\""

	t.Run("nobody", func(t *testing.T) {
		mustFail(t, list(t, directly(t, nil, nil), nil), http.StatusForbidden, "Forbidden", anonymous)
	})
	t.Run("nobody who claims to be the front", func(t *testing.T) {
		mustFail(t, list(t, directly(t, nil, nil), remote("admin", "system:masters")), http.StatusForbidden, "Forbidden", anonymous)
	})
	t.Run("a user who claims to be the front", func(t *testing.T) {
		got := send(t, asDirectly(t, users.viewer), http.MethodDelete, sandboxPath(ns, "x"), "", "")
		mustFail(t, got, http.StatusForbidden, "Forbidden", cannot(ns, "viewer", "delete", "sandboxes", "x"))
		if got := list(t, asDirectly(t, users.suspender), remote(viewerName)); got.code != http.StatusForbidden {
			t.Errorf("the headers of a client were believed: %d %s", got.code, got.body)
		}
	})
	t.Run("the front", func(t *testing.T) {
		front := directly(t, nil, nil)
		front.CertData, front.KeyData = loadAuthority(t, "front-proxy-ca").mint(t, "front-proxy-client")
		if got := list(t, front, remote(viewerName, "system:authenticated")); got.code != http.StatusOK {
			t.Errorf("%d %s", got.code, got.body)
		}
	})
	t.Run("the front's CA with another name", func(t *testing.T) {
		certificate, key := loadAuthority(t, "front-proxy-ca").mint(t, "back-proxy-client")
		mustFail(t, list(t, directly(t, certificate, key), remote("admin", "system:masters")), http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	})
	t.Run("the name of the front by another CA", func(t *testing.T) {
		stranger, _, _ := newAuthority(t, "stranger")
		certificate, key := stranger.mint(t, "front-proxy-client")
		mustFail(t, list(t, directly(t, certificate, key), remote("admin", "system:masters")), http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	})
	t.Run("a token that is none", func(t *testing.T) {
		config := directly(t, nil, nil)
		config.BearerToken = "garbage"
		mustFail(t, list(t, config, nil), http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	})
	t.Run("a ServiceAccount", func(t *testing.T) {
		request := &authenticationv1.TokenRequest{}
		issued, err := core.CoreV1().ServiceAccounts(ns).CreateToken(context.Background(), "default", request, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		config := directly(t, nil, nil)
		config.BearerToken = issued.Status.Token
		name := "system:serviceaccount:" + ns + ":default"
		mustFail(t, list(t, config, nil), http.StatusForbidden, "Forbidden", strings.Replace(anonymous, "system:anonymous", name, 1))
		bind(t, ns, "ClusterRole", "view", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "default"})
		eventually(t, "right of the ServiceAccount", patience, func() (bool, string) {
			got := list(t, config, nil)
			return got.code == http.StatusOK, got.body
		})
	})
	t.Run("health needs no name", func(t *testing.T) {
		for _, path := range []string{"/healthz", "/livez", "/readyz"} {
			if got := send(t, directly(t, nil, nil), http.MethodGet, path, "", ""); got.code != http.StatusOK || got.body != "ok" {
				t.Errorf("%s: %d %q", path, got.code, got.body)
			}
		}
		got := send(t, directly(t, nil, nil), http.MethodGet, "/metrics", "", "")
		mustFail(t, got, http.StatusForbidden, "Forbidden", `forbidden: User "system:anonymous" cannot get path "/metrics"`)
	})
}
