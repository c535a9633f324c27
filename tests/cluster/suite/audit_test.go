package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/remotecommand"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// audited is the namespace of which the policy of `cargo xtask up` records whole objects.
const audited = "audited"

type auditEvent struct {
	Level, AuditID, Stage, RequestURI, Verb, UserAgent string
	User                                               struct{ Username string }
	SourceIPs                                          []string
	ObjectRef                                          struct{ Resource, Namespace, Name, UID, Subresource string }
	ResponseStatus                                     struct {
		Code            int
		Reason, Message string
	}
	RequestObject, ResponseObject json.RawMessage
	Annotations                   map[string]string
}

func (e auditEvent) of(resource, subresource string) bool {
	return e.ObjectRef.Resource == resource && e.ObjectRef.Subresource == subresource
}

// trail is what the server has recorded since it was begun.
type trail struct {
	t    *testing.T
	path string
	from int64
}

func auditTrail(t *testing.T) *trail {
	t.Helper()
	path := filepath.Join(env.DevDir, "logs", "audit.log")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the audit log's mode is %o", mode)
	}
	return &trail{t, path, info.Size()}
}

func (r *trail) text() []byte {
	file, err := os.Open(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(r.from, io.SeekStart); err != nil {
		r.t.Fatal(err)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *trail) events() (all []auditEvent) {
	for line := range bytes.Lines(r.text()) {
		var event auditEvent
		// The last line may be in the making.
		if bytes.HasSuffix(line, []byte("\n")) {
			if err := json.Unmarshal(line, &event); err != nil {
				r.t.Fatalf("%v: %.200s", err, line)
			}
			all = append(all, event)
		}
	}
	return all
}

// find waits for the first event that is wanted.
func (r *trail) find(what string, wanted func(auditEvent) bool) (found auditEvent) {
	r.t.Helper()
	eventually(r.t, "audit event: "+what, patience, func() (bool, string) {
		for _, event := range r.events() {
			if wanted(event) {
				found = event
				return true, ""
			}
		}
		return false, "none"
	})
	return found
}

func TestEveryRequestIsAudited(t *testing.T) {
	calm(t)
	ns := namespace(t)
	trail := auditTrail(t)
	created := createSandbox(t, ns, "box")
	event := trail.find("create", func(e auditEvent) bool {
		return e.ObjectRef.Namespace == ns && e.Verb == "create" && e.of("sandboxes", "")
	})
	if event.ObjectRef.Name != "box" || event.ObjectRef.UID != string(created.GetUID()) || event.ResponseStatus.Code != 201 ||
		event.Stage != "ResponseComplete" || event.Level != "Metadata" || len(event.SourceIPs) < 2 ||
		event.RequestObject != nil || event.Annotations["authorization.k8s.io/decision"] != "allow" {
		t.Errorf("%+v", event)
	}
	// The front's event and ours have one ID, and the user is who the front says he is.
	bindRule(t, ns, "reader", []string{"sandboxes"}, "get")
	reader := user(t, "reader-of-"+ns)
	eventually(t, "right of reader", patience, func() (bool, string) {
		got := send(t, reader, http.MethodGet, sandboxPath(ns, "box"), "", "")
		return got.code == http.StatusOK, got.body
	})
	for _, asked := range []struct {
		name string
		got  response
		user string
		code int
	}{
		{"through the front", proxied(t, reader, http.MethodGet, sandboxPath(ns, "box"), nil, nil), "reader", 200},
		{"directly", proxied(t, asDirectly(t, reader), http.MethodGet, sandboxPath(ns, "box"), nil, nil), "reader", 200},
		{"not found", proxied(t, reader, http.MethodGet, sandboxPath(ns, "absent"), nil, nil), "reader", 404},
		{"with an ID", proxied(t, reader, http.MethodGet, sandboxPath(ns, "box"), nil, http.Header{"Audit-Id": {"id-of-" + ns}}), "reader", 200},
		{"refused", proxied(t, asDirectly(t, user(t, "stranger-of-"+ns)), http.MethodGet, sandboxPath(ns, "box"), nil, nil), "stranger", 403},
	} {
		id := asked.got.header.Get("Audit-Id")
		event := trail.find(asked.name, func(e auditEvent) bool { return e.AuditID == id })
		decision := "allow"
		if asked.code == 403 {
			decision = "forbid"
		}
		if asked.got.code != asked.code || event.User.Username != asked.user+"-of-"+ns || event.ResponseStatus.Code != asked.code ||
			event.Annotations["authorization.k8s.io/decision"] != decision {
			t.Errorf("%s: %d %+v", asked.name, asked.got.code, event)
		}
		if asked.name == "with an ID" && id != "id-of-"+ns {
			t.Errorf("another ID: %s", id)
		}
	}
	// A claim, and what it got.
	makePool(t, ns, "stock", 1)
	claim := claimed(t, send(t, admin, http.MethodPost, poolPath(ns, "stock")+"/claim", asJSON, `{}`), http.StatusCreated)
	event = trail.find("claim", func(e auditEvent) bool { return e.ObjectRef.Namespace == ns && e.of("sandboxwarmpools", "claim") })
	if event.Annotations["sandbox.x-k8s.io/claim"] != claim.GetName() ||
		event.Annotations["sandbox.x-k8s.io/sandbox"] != boundTo(claim, "name") || event.Verb != "create" {
		t.Errorf("%+v", event)
	}
	// A watch has two ends.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch, err := sandboxes(ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	isWatch := func(stage string) func(auditEvent) bool {
		return func(e auditEvent) bool { return e.ObjectRef.Namespace == ns && e.Verb == "watch" && e.Stage == stage }
	}
	started := trail.find("watch", isWatch("ResponseStarted"))
	watch.Stop()
	cancel()
	ended := trail.find("end of the watch", func(e auditEvent) bool {
		return isWatch("ResponseComplete")(e) && e.AuditID == started.AuditID
	})
	if ended.ResponseStatus.Code != 200 {
		t.Errorf("%+v", ended)
	}
}

func TestStreamsAreAudited(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box", serving)
	waitReady(t, ns, "box")
	trail := auditTrail(t)
	canary := "canary-" + ns
	sizes := map[string]string{}
	run := func(protocol string) {
		t.Helper()
		_, _, err := execute(t, admin, protocol, ns, "box", canary, "sh", "-c", "cat; echo; exit 7")
		if err == nil || !strings.Contains(err.Error(), "exit code 7") {
			t.Fatal(err)
		}
	}
	for _, protocol := range []string{"WebSocket", "SPDY"} {
		run(protocol)
		var ends auditEvent
		for _, stage := range []string{"ResponseStarted", "ResponseComplete"} {
			ends = trail.find(protocol+" "+stage, func(e auditEvent) bool {
				return e.ObjectRef.Namespace == ns && e.of("sandboxes", "exec") && e.Stage == stage &&
					(protocol == "WebSocket") == (e.Verb == "get")
			})
			notes := ends.Annotations
			if notes["sandbox.x-k8s.io/pod"] != "box" || notes["sandbox.x-k8s.io/sandbox"] != "box" || notes["sandbox.x-k8s.io/container"] == "" ||
				notes["sandbox.x-k8s.io/command"] != `["sh","-c","cat; echo; exit 7"]` || ends.ResponseStatus.Code != 101 {
				t.Errorf("%s %+v", stage, ends)
			}
		}
		notes := ends.Annotations
		if notes["sandbox.x-k8s.io/exit-code"] != "7" {
			t.Errorf("%+v", notes)
		}
		for _, key := range []string{"bytes-to-pod", "bytes-from-pod", "duration-seconds", "ended"} {
			value := notes["sandbox.x-k8s.io/"+key]
			if value == "" || value == "0" {
				t.Errorf("%s: %q in %v", key, value, notes)
			}
			sizes[key] = value
		}
		if sizes["ended"] != "closed" {
			t.Errorf("ended: %s", sizes["ended"])
		}
	}
	// Now and then a client that has its exit code hangs up without a word: nothing broke.
	for range 10 {
		run("WebSocket")
		run("SPDY")
	}
	eventually(t, "all ends", patience, func() (bool, string) {
		ends := map[string]int{}
		for _, e := range trail.events() {
			if e.ObjectRef.Namespace == ns && e.of("sandboxes", "exec") && e.Stage == "ResponseComplete" {
				ends[e.Annotations["sandbox.x-k8s.io/ended"]+" "+e.Annotations["sandbox.x-k8s.io/exit-code"]]++
			}
		}
		return ends["closed 7"] == 22 && len(ends) == 1, fmt.Sprint(ends)
	})
	// A session that is ended tells why.
	over := session(t, admin, "WebSocket", ns, "box")
	mustAct(t, ns, "box", "suspend", "wait=true")
	mustEnd(t, "suspended", over, "")
	trail.find("the suspended session", func(e auditEvent) bool {
		return e.ObjectRef.Namespace == ns && e.Annotations["sandbox.x-k8s.io/ended"] == "suspended"
	})
	mustAct(t, ns, "box", "resume", "wait=true")
	startEcho(t, sandboxPath(ns, "box"))
	// A log, and a request to a port.
	got := send(t, admin, http.MethodGet, sandboxPath(ns, "box")+"/log", "", "")
	log := trail.find("log", func(e auditEvent) bool {
		return e.ObjectRef.Namespace == ns && e.of("sandboxes", "log") && e.Stage == "ResponseComplete"
	})
	if got := log.Annotations["sandbox.x-k8s.io/bytes-from-pod"]; got != fmt.Sprint(len("started\n")) {
		t.Errorf("%s %+v", got, log)
	}
	if got.body != "started\n" {
		t.Errorf("log: %q", got.body)
	}
	header := http.Header{"Cookie": {"c=" + canary}, "X-Secret": {canary}}
	eventually(t, "echo server", patience, func() (bool, string) {
		got := proxied(t, admin, http.MethodPost, sandboxPath(ns, "box:9090")+"/proxy/echo/?token="+canary, strings.NewReader(canary), header)
		return got.code == http.StatusOK, got.body
	})
	proxy := trail.find("proxy", func(e auditEvent) bool {
		return e.ObjectRef.Namespace == ns && e.of("sandboxes", "proxy") && e.Stage == "ResponseComplete" && e.ResponseStatus.Code == 200
	})
	if !strings.HasSuffix(proxy.RequestURI, "/proxy/echo/?[redacted]") || proxy.Annotations["sandbox.x-k8s.io/pod"] != "box" {
		t.Errorf("%+v", proxy)
	}
	if bytes.Contains(trail.text(), []byte(canary)) {
		t.Error("something that passed through a stream is in the audit log")
	}
}

// TestSecretsAreNotAudited at the level at which whole objects are recorded.
func TestSecretsAreNotAudited(t *testing.T) {
	calm(t)
	ctx := context.Background()
	deleteNamespace(t, audited)
	made := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": audited},
	}}
	if _, err := dyn.Resource(cluster.Namespaces).Create(ctx, made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deleteNamespace(t, audited) })
	trail := auditTrail(t)
	const canary = "canary-of-an-environment"
	variables := []any{map[string]any{"name": "TOKEN", "value": canary}}
	withSecret := func(spec map[string]any) {
		pod := spec["podTemplate"].(map[string]any)["spec"].(map[string]any)
		pod["containers"].([]any)[0].(map[string]any)["env"] = variables
	}
	box := createSandbox(t, audited, "box", withSecret, cluster.Suspended)
	applied := object("Sandbox", audited, "applied", map[string]any{"podTemplate": box.Object["spec"].(map[string]any)["podTemplate"], "operatingMode": "Suspended"})
	pipe(t, manifest(t, applied), "apply", "-f", "-")
	env := "/spec/podTemplate/spec/containers/0/env"
	for kind, body := range map[string]string{
		"json-patch":  `[{"op":"replace","path":"` + env + `/0/value","value":"` + canary + `-2"}]`,
		"merge-patch": `{"spec":{"podTemplate":{"spec":{"containers":[{"name":"main","image":"` + cluster.Image + `","env":[{"name":"A","value":"` + canary + `"}]}]}}}}`,
	} {
		got := send(t, admin, http.MethodPatch, sandboxPath(audited, "applied"), "application/"+kind+"+json", body)
		if got.code != http.StatusOK {
			t.Fatalf("%s: %d %s", kind, got.code, got.body)
		}
	}
	// A mistake is quoted to the user, not to the log.
	send(t, admin, http.MethodPost, sandboxesPath(audited), asJSON, `{"metadata":{"name":"bad"},"spec":{"podTemplate":{"spec":{"containers":[{"name":"c","env":[{"name":"`+"9 bad"+`","value":{"`+canary+`":1}}]}]}}}}`)
	kubectl(t, "get", "sandboxes", "-n", audited, "-o", "yaml")
	kubectl(t, "get", "sandboxes", "-n", audited)
	stdin := strings.NewReader(canary)
	at := urlOf(t, admin, sandboxPath(audited, "box")+"/exec", url.Values{"command": {"cat"}, "stdin": {"true"}, "stdout": {"true"}})
	var said bytes.Buffer
	if err := executor(t, admin, "WebSocket", at).StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &said}); err != nil || said.String() != canary {
		t.Fatalf("%q %v", said.String(), err)
	}
	create := trail.find("create", func(e auditEvent) bool {
		return e.ObjectRef.Namespace == audited && e.ObjectRef.Name == "box" && e.Verb == "create" && e.of("sandboxes", "")
	})
	kind := []byte(`"kind":"Sandbox"`)
	if !bytes.Contains(create.RequestObject, kind) || !bytes.Contains(create.ResponseObject, kind) || create.Level != "RequestResponse" {
		t.Errorf("%+v", create)
	}
	trail.find("patch", func(e auditEvent) bool {
		return e.ObjectRef.Namespace == audited && e.Verb == "patch" && bytes.HasPrefix(e.RequestObject, []byte("[")) && e.ResponseObject != nil
	})
	list := trail.find("list", func(e auditEvent) bool { return e.ObjectRef.Namespace == audited && e.Verb == "list" })
	if list.ResponseObject == nil {
		t.Errorf("%+v", list)
	}
	text := trail.text()
	if bytes.Contains(text, []byte(canary)) {
		at := bytes.Index(text, []byte(canary))
		t.Errorf("a secret is in the audit log: %s", text[max(0, at-500):min(len(text), at+100)])
	}
	if !bytes.Contains(text, []byte("[redacted]")) {
		t.Error("nothing was left out")
	}
	if bytes.Contains(text, []byte("managedFields")) {
		t.Error("managed fields are told")
	}
}
