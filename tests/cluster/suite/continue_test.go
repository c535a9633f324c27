package suite

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// token as a server of Kubernetes makes them.
func token(revision int64, start string) string {
	text, err := json.Marshal(map[string]any{"v": "meta.k8s.io/v1", "rv": revision, "start": start})
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// What a client forges must not show it anything outside of the collection that it asked for, and may ask for.
func TestForgedTokensStayInTheirScope(t *testing.T) {
	calm(t)
	mine, theirs := namespace(t), namespace(t)
	for _, name := range []string{"a", "b", "c"} {
		createSandbox(t, mine, name, cluster.Suspended)
		createSandbox(t, theirs, "secret-"+name, cluster.Suspended)
	}
	reader := user(t, "suite-forger")
	bindUser(t, mine, "ClusterRole", "view", "suite-forger")
	direct := asDirectly(t, reader)
	eventually(t, "right to list", patience, func() (bool, string) {
		got := send(t, reader, http.MethodGet, sandboxesPath(mine), "", "")
		return got.code == http.StatusOK, got.body
	})
	revision := revisionNow(t, mine)
	own := send(t, reader, http.MethodGet, sandboxesPath(mine)+"?limit=1", "", "").object(t)["metadata"].(map[string]any)["continue"].(string)
	foreign := send(t, admin, http.MethodGet, sandboxesPath(theirs)+"?limit=1", "", "").object(t)["metadata"].(map[string]any)["continue"].(string)
	everywhere := send(t, admin, http.MethodGet, groupVersion+"/sandboxes?limit=1", "", "").object(t)["metadata"].(map[string]any)["continue"].(string)

	tokens := map[string]string{
		"its own":                      own,
		"of another namespace":         foreign,
		"of all namespaces":            everywhere,
		"a start in another namespace": token(revision, theirs+"/\u0000"),
		"up and down":                  token(revision, "../"+theirs+"/"),
		"up and down, deeper":          token(revision, "a/../../"+theirs+"/"),
		"up to another resource":       token(revision, "../../sandboxclaims/"),
		"an absolute key":              token(revision, "/registry/"+cluster.Group+"/sandboxes/"+theirs+"/"),
		"a dot":                        token(revision, "./"),
		"two slashes":                  token(revision, "//"+theirs),
		"a slash":                      token(revision, "/"),
		"a NUL":                        token(revision, "\u0000"),
		"before everything":            token(revision, "!"),
		"after everything":             token(revision, "\U0010FFFF"),
		"encoded dots":                 token(revision, "%2e%2e/"+theirs+"/"),
		"backslashes":                  token(revision, `..\`+theirs+`\`),
		"no revision":                  token(0, "a\u0000"),
		"revision -1":                  token(-1, "a\u0000"),
		"revision -2":                  token(-2, "a\u0000"),
		"the future":                   token(1<<62, "a\u0000"),
		"an empty start":               token(revision, ""),
		"another version":              base64.RawURLEncoding.EncodeToString([]byte(`{"v":"v9","rv":1,"start":"a"}`)),
		"no JSON":                      base64.RawURLEncoding.EncodeToString([]byte(`nonsense`)),
		"an array":                     base64.RawURLEncoding.EncodeToString([]byte(`[]`)),
		"a number for the start":       base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":1,"start":7}`)),
		"a revision too large for i64": base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":99999999999999999999,"start":"a"}`)),
		"no base64":                    "&%$",
		"half a token":                 own[:len(own)/2],
		"a long one":                   token(revision, strings.Repeat("x", 4000)),
		"invalid UTF-8":                base64.RawURLEncoding.EncodeToString([]byte("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"\xff\"}")),
	}
	for what, token := range tokens {
		path := sandboxesPath(mine) + "?limit=10&continue=" + url.QueryEscape(token)
		for way, config := range map[string]*rest.Config{"front": reader, "direct": direct} {
			got := send(t, config, http.MethodGet, path, "", "")
			if got.code != http.StatusOK && got.code != http.StatusBadRequest && got.code != http.StatusGone && got.code != http.StatusGatewayTimeout {
				t.Errorf("%s, %s: %d %.300s", what, way, got.code, got.body)
			}
			// The forged start may come back in a message; an object of theirs may not.
			if strings.Contains(got.body, "secret-") {
				t.Errorf("%s, %s, shows what is not its own: %.300s", what, way, got.body)
			}
			if got.code == http.StatusOK {
				stays(t, what+", "+way, got, mine)
			}
		}
	}
	// For others it is no key at all.
	denied := send(t, reader, http.MethodGet, sandboxesPath(theirs)+"?limit=1&continue="+url.QueryEscape(own), "", "")
	if denied.code != http.StatusForbidden {
		t.Errorf("its own token in their namespace: %d %.300s", denied.code, denied.body)
	}
	denied = send(t, reader, http.MethodGet, groupVersion+"/sandboxes?limit=1&continue="+url.QueryEscape(own), "", "")
	if denied.code != http.StatusForbidden {
		t.Errorf("its own token in all namespaces: %d %.300s", denied.code, denied.body)
	}
}

func stays(t *testing.T, what string, got response, ns string) {
	t.Helper()
	var list struct {
		Kind  string
		Items []struct {
			Kind     string
			Metadata struct{ Namespace, Name string }
		}
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || list.Kind != "SandboxList" {
		t.Errorf("%s: %v %.300s", what, err, got.body)
	}
	for _, item := range list.Items {
		if item.Metadata.Namespace != ns || item.Kind != "Sandbox" {
			t.Errorf("%s: lists %s", what, fmt.Sprint(item))
		}
	}
}
