package suite

import (
	"bufio"
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

func TestAPIServiceIsVerifiedAndAvailable(t *testing.T) {
	calm(t)
	service, err := dyn.Resource(cluster.APIServices).Get(context.Background(), cluster.APIService, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if status, reason, message := cluster.Condition(service, "Available"); status != "True" {
		t.Errorf("Available is %s: %s: %s", status, reason, message)
	}
	bundle, _, _ := unstructured.NestedString(service.Object, "spec", "caBundle")
	got, err := base64.StdEncoding.DecodeString(bundle)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(env.DevDir, "pki", "serving-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("caBundle is not the serving CA:\n%s", got)
	}
	if insecure, _, _ := unstructured.NestedBool(service.Object, "spec", "insecureSkipTLSVerify"); insecure {
		t.Error("insecureSkipTLSVerify is set")
	}
}

func TestKubectlListsTheResources(t *testing.T) {
	calm(t)
	text := kubectl(t, "api-resources", "--api-group="+cluster.Group, "--no-headers", "-o", "wide", "--sort-by=name")
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	verbs := "create,delete,deletecollection,get,list,patch,update,watch all,sandboxing"
	prefix := " " + cluster.GroupVersion + " true "
	want := []string{
		"sandboxclaims sbxc" + prefix + "SandboxClaim " + verbs,
		"sandboxes sbx" + prefix + "Sandbox " + verbs,
		"sandboxtemplates sbxt" + prefix + "SandboxTemplate " + verbs,
		"sandboxwarmpools sbxwp" + prefix + "SandboxWarmPool " + verbs,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	mustContain(t, "api-versions", kubectl(t, "api-versions"), cluster.GroupVersion)
	// The front merges our document into its own.
	for _, path := range []string{"/apis", "/apis/" + cluster.Group, groupVersion, "/openapi/v3" + groupVersion, "/openapi/v2"} {
		mustContain(t, path, kubectl(t, "get", "--raw", path), cluster.Group)
	}
}

func TestKubectlExplains(t *testing.T) {
	calm(t)
	mustContain(t, "explain containers", kubectl(t, "explain", "sandboxes.spec.podTemplate.spec.containers"),
		"GROUP:      sandbox.x-k8s.io", "KIND:       Sandbox", "VERSION:    v1beta1",
		"FIELD: containers <[]Container>", "imagePullPolicy\t<string>", "List of containers belonging to the pod")
	mustContain(t, "explain operatingMode", kubectl(t, "explain", "sbx.spec.operatingMode"),
		"FIELD: operatingMode <string>", "ENUM:", "Running", "Suspended")
	for _, kind := range []string{"sandboxclaims", "sandboxtemplates", "sandboxwarmpools"} {
		mustContain(t, "explain "+kind, kubectl(t, "explain", kind), "metadata\t<ObjectMeta>", "spec\t<", "status\t<")
	}
	recursive := kubectl(t, "explain", "sandboxes", "--recursive")
	mustContain(t, "explain --recursive", recursive, "volumeClaimTemplates", "shutdownPolicy", "serviceFQDN")
}

func TestKubectlPrintsColumns(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "columns")
	sandbox := waitReady(t, ns, "columns")

	columns := func(args ...string) (header, row []string) {
		lines := strings.Split(strings.TrimSpace(kubectl(t, append([]string{"get", "-n", ns}, args...)...)), "\n")
		if len(lines) != 2 {
			t.Fatalf("want a header and one row:\n%s", strings.Join(lines, "\n"))
		}
		return strings.Fields(lines[0]), strings.Fields(lines[1])
	}
	header, row := columns("sandboxes")
	if want := []string{"NAME", "PHASE", "READY", "AGE"}; !slices.Equal(header, want) {
		t.Errorf("columns %q, want %q", header, want)
	}
	if want := []string{"columns", "Running", "True"}; len(row) != 4 || !slices.Equal(row[:3], want) {
		t.Errorf("row %q, want %q and an age", row, want)
	}
	header, row = columns("sbx", "-o", "wide")
	if want := []string{"NAME", "PHASE", "READY", "AGE", "MODE", "ISOLATION", "NODE", "POD", "IP", "LAST", "USED", "TEMPLATE"}; !slices.Equal(header, want) {
		t.Errorf("wide columns %q, want %q", header, want)
	}
	addresses, _, _ := unstructured.NestedStringSlice(sandbox.Object, "status", "podIPs")
	node, _, _ := unstructured.NestedString(sandbox.Object, "status", "nodeName")
	if len(row) < 9 || len(addresses) == 0 || !slices.Equal(row[4:9], []string{"Running", "Standard", node, "columns", addresses[0]}) {
		t.Errorf("wide row %q of status %s", row, show(sandbox.Object["status"]))
	}
	mustContain(t, "get all", kubectl(t, "get", "all", "-n", ns), "sandbox.sandbox.x-k8s.io/columns", "pod/columns")
	mustContain(t, "get by category", kubectl(t, "get", "sandboxing", "-n", ns), "sandbox.sandbox.x-k8s.io/columns")
	mustContain(t, "-o yaml", kubectl(t, "get", "sandbox", "columns", "-n", ns, "-o", "yaml"),
		"apiVersion: "+cluster.GroupVersion, "kind: Sandbox", "name: columns", "phase: Running", "uid: "+string(sandbox.GetUID()))
	mustContain(t, "describe", kubectl(t, "describe", "sandbox", "columns", "-n", ns), "Kind:         Sandbox", "DependenciesReady")
}

func TestKubectlWatches(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, env.Kubectl, "get", "sandboxes", "-n", ns, "-w", "--output-watch-events", "--no-headers")
	cmd.Env = append(os.Environ(), "KUBECACHEDIR="+kcache)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Killed on purpose: its verdict says nothing.
	defer func() { cancel(); _ = cmd.Wait() }()

	lines := bufio.NewScanner(output)
	var seen []string
	expect := func(words ...string) {
		t.Helper()
		for lines.Scan() {
			seen = append(seen, lines.Text())
			if fields := strings.Fields(lines.Text()); len(fields) >= len(words) && slices.Equal(fields[:len(words)], words) {
				return
			}
		}
		t.Fatalf("kubectl get -w never said %q; it said:\n%s", words, strings.Join(seen, "\n"))
	}
	// It lists before it watches: the first event may be of either, and looks the same.
	createSandbox(t, ns, "watched", cluster.Suspended)
	expect("ADDED", "watched")
	kubectl(t, "patch", "sandbox", "watched", "-n", ns, "--type=merge", "-p", `{"spec":{"operatingMode":"Running"}}`)
	expect("MODIFIED", "watched", "Running", "True")
	kubectl(t, "delete", "sandbox", "watched", "-n", ns)
	expect("DELETED", "watched")
}
