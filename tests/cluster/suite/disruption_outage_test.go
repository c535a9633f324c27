package suite

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

func TestOurServerIsAwayForAMinute(t *testing.T) {
	alone(t)
	ns := namespace(t)
	createSandbox(t, ns, "orphaned", cluster.WithService, cluster.WithWorkspace)
	createSandbox(t, ns, "asleep", cluster.Suspended, cluster.WithWorkspace)
	createSandbox(t, ns, "unlucky")
	waitReady(t, ns, "orphaned")
	waitReady(t, ns, "unlucky")
	waitSuspended(t, ns, "asleep")
	kubectl(t, "exec", "-n", ns, "orphaned", "--", "sh", "-c", "echo kept > /workspace/note")
	before := childrenUIDs(t, ns, "orphaned")

	xtask(t, "service", "stop", ourServer)
	stopped := time.Now()
	// Whatever fails below, the tests after this one need the server.
	t.Cleanup(func() { xtask(t, "service", "start", ourServer) })

	eventually(t, "APIService that is not Available", patience, func() (bool, string) {
		available, message := isAvailable()
		return !available, message
	})
	// As for every aggregated group, nothing but a 503 tells of it while its server is away.
	if got := send(t, admin, http.MethodGet, sandboxesPath(ns), "", ""); got.code != http.StatusServiceUnavailable {
		t.Errorf("a list without our server: %d %s", got.code, got.body)
	}

	// The rest of the cluster goes on, its garbage collector included.
	if _, err := dyn.Resource(cluster.Pods).Namespace(ns).Create(context.Background(), cluster.Pod(ns, "bare"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "wait", "--for=condition=Ready", "pod/bare", "-n", ns, "--timeout=60s")
	collects(t, ns)
	kubectl(t, "delete", "pod", "unlucky", "-n", ns)

	checks := 0
	eventually(t, "end of the minute", 2*time.Minute, func() (bool, string) {
		kubectl(t, "get", "pods", "-n", ns)
		if now := childrenUIDs(t, ns, "orphaned"); show(now) != show(before) {
			t.Fatalf("children without their server: %s, before: %s", show(now), show(before))
		}
		if pod := get(t, cluster.Pods, ns, "orphaned"); pod.GetDeletionTimestamp() != nil {
			t.Fatalf("the Pod is being deleted: %s", show(pod.Object["metadata"]))
		}
		checks++
		return time.Since(stopped) > time.Minute, fmt.Sprintf("%d checks", checks)
	})
	t.Logf("%d checks without our server", checks)
	mustContain(t, "the workspace", kubectl(t, "exec", "-n", ns, "orphaned", "--", "cat", "/workspace/note"), "kept")

	xtask(t, "service", "start", ourServer)
	waitAvailable(t)
	waitReady(t, ns, "orphaned")
	// What happened while nobody looked is noticed.
	waitReady(t, ns, "unlucky")
	if now := childrenUIDs(t, ns, "orphaned"); show(now) != show(before) {
		t.Errorf("children after the return: %s, before: %s", show(now), show(before))
	}
	mustAct(t, ns, "asleep", "resume", "wait=true&timeout=30s")
	kubectl(t, "delete", "sandbox", "orphaned", "-n", ns)
	for resource, name := range children("orphaned") {
		waitGone(t, resource, ns, name)
	}
}

func childrenUIDs(t *testing.T, ns, name string) map[string]string {
	t.Helper()
	uids := map[string]string{}
	for resource, name := range children(name) {
		uids[resource.Resource] = string(get(t, resource, ns, name).GetUID())
	}
	return uids
}

// collects proves that Kubernetes' garbage collector works: a dependent follows its owner.
func collects(t *testing.T, ns string) {
	t.Helper()
	ctx := context.Background()
	maps := core.CoreV1().ConfigMaps(ns)
	owner, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dependent := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name:            "dependent",
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})},
	}}
	if _, err := maps.Create(ctx, dependent, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitGone(t, cluster.ConfigMaps, ns, "dependent")
}

func TestOurEtcdRestarts(t *testing.T) {
	alone(t)
	ns := namespace(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	informer := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, ns, nil).ForResource(cluster.Sandboxes).Informer()
	saw := newRecorder()
	if _, err := informer.AddEventHandler(saw.handler()); err != nil {
		t.Fatal(err)
	}
	go informer.RunWithContext(ctx)
	createSandbox(t, ns, "before", cluster.WithWorkspace)
	waitReady(t, ns, "before")
	uid := podUID(t, ns, "before")
	pid := serverPID(t)

	xtask(t, "service", "restart", ourEtcd)
	eventually(t, "write after the restart of etcd", patience, func() (bool, string) {
		_, err := sandboxes(ns).Create(ctx, cluster.Sandbox(ns, "after"), metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), fmt.Sprint(err)
	})
	waitReady(t, ns, "after")
	mustAct(t, ns, "before", "suspend", "wait=true&timeout=30s")
	mustAct(t, ns, "before", "resume", "wait=true&timeout=30s")
	if podUID(t, ns, "before") == uid {
		t.Error("suspend and resume kept the Pod")
	}
	want := map[string]string{}
	for _, name := range []string{"before", "after"} {
		want[name] = getSandbox(t, ns, name).GetResourceVersion()
	}
	for name, revision := range want {
		eventually(t, "informer that saw "+name+" at "+revision, patience, func() (bool, string) {
			return saw.has(name + "@" + revision), "not seen"
		})
	}
	for _, complaint := range saw.complaint {
		t.Error(complaint)
	}
	if now := serverPID(t); now != pid {
		t.Errorf("our server was restarted: pid %s, then %s", pid, now)
	}
}

func serverPID(t *testing.T) string {
	t.Helper()
	return servicePID(t, ourServer)
}

// servicePID as `cargo xtask status` shows it.
func servicePID(t *testing.T, service string) string {
	t.Helper()
	for _, line := range strings.Split(run(t, "", env.Xtask, "status").stdout, "\n") {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == service && fields[2] == "up" {
			return fields[1]
		}
	}
	t.Fatalf("xtask status does not show %s", service)
	return ""
}
