package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const (
	kills      = 50
	ourServer  = "sandbox-apiserver"
	ourEtcd    = "sandbox-etcd"
	killedOnes = 5
)

// outcome is what one Sandbox may be once a worker's requests have been answered, or not.
type outcome struct {
	name         string
	acknowledged bool
	modes        map[string]bool
	acks         int
}

func TestKillAtFiftyRandomMoments(t *testing.T) {
	alone(t)
	ns := namespace(t)
	createSandbox(t, ns, "steady", cluster.WithService, cluster.WithWorkspace)
	waitReady(t, ns, "steady")
	steady := podUID(t, ns, "steady")

	// Past the front: it would hold requests back while it believes that our server is away.
	certificate, key := readPair(t, "admin")
	client, err := rest.HTTPClientFor(directly(t, certificate, key))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var workers sync.WaitGroup
	var acks atomic.Int64
	outcomes := make([]*outcome, killedOnes)
	for i := range outcomes {
		outcomes[i] = &outcome{name: fmt.Sprintf("shaken-%d", i), modes: map[string]bool{}}
		workers.Go(func() { shake(ctx, client, ns, outcomes[i], &acks) })
	}

	started := time.Now()
	random := rand.New(rand.NewPCG(uint64(started.UnixNano()), 1))
	for range kills {
		// The moment is what is random here; nothing waits for it.
		select {
		case <-time.After(time.Duration(random.IntN(1200)) * time.Millisecond):
		case <-ctx.Done():
		}
		xtask(t, "service", "kill", ourServer)
		xtask(t, "service", "start", ourServer)
	}
	t.Logf("%d kills in %v, %d acknowledged requests", kills, time.Since(started).Round(time.Second), acks.Load())
	stop()
	workers.Wait()
	waitAvailable(t)
	if acks.Load() < kills {
		t.Errorf("only %d requests were acknowledged: the test saw too little", acks.Load())
	}

	for _, outcome := range outcomes {
		if !outcome.acknowledged {
			t.Errorf("%s was never created", outcome.name)
			continue
		}
		converges(t, ns, outcome)
	}
	waitReady(t, ns, "steady")
	if now := podUID(t, ns, "steady"); now != steady {
		t.Errorf("the Pod of a Sandbox that nobody touched was replaced: %s, then %s", steady, now)
	}
	list, err := sandboxes(ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != killedOnes+1 {
		t.Errorf("%d sandboxes, want %d", len(list.Items), killedOnes+1)
	}
}

// shake creates a Sandbox and then suspends and resumes it as fast as it goes, until the context ends.
func shake(ctx context.Context, client *http.Client, ns string, outcome *outcome, acks *atomic.Int64) {
	request := func(path, body string) int {
		got, err := post(ctx, client, env.Server+path, body)
		if err != nil {
			return 0
		}
		if got < http.StatusInternalServerError {
			acks.Add(1)
		}
		return got
	}
	for ctx.Err() == nil && !outcome.acknowledged {
		switch request(sandboxesPath(ns), show(cluster.Sandbox(ns, outcome.name).Object)) {
		// A conflict: an earlier attempt, whose answer was lost, has made it.
		case http.StatusCreated, http.StatusConflict:
			outcome.acknowledged = true
			outcome.modes["Running"] = true
		default:
			pause(ctx)
		}
	}
	for suspend := true; ctx.Err() == nil; {
		action, mode := "resume", "Running"
		if suspend {
			action, mode = "suspend", "Suspended"
		}
		// Whether a request without an answer was done or not, nobody knows.
		outcome.modes[mode] = true
		if request(sandboxPath(ns, outcome.name)+"/"+action+"?wait=true&timeout=5s", "") != http.StatusOK {
			pause(ctx)
			continue
		}
		outcome.acks++
		outcome.modes = map[string]bool{mode: true}
		suspend = !suspend
	}
}

// pause between attempts at a server that is away: a worker shall not take the cores from it.
func pause(ctx context.Context) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
}

// converges to what was acknowledged, with exactly the Pods that go with it.
func converges(t *testing.T, ns string, outcome *outcome) {
	t.Helper()
	sandbox, err := sandboxes(ns).Get(context.Background(), outcome.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		t.Errorf("%s was acknowledged and is lost", outcome.name)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mode, _, _ := unstructured.NestedString(sandbox.Object, "spec", "operatingMode")
	if !outcome.modes[mode] {
		t.Errorf("%s is %s, acknowledged was %v", outcome.name, mode, outcome.modes)
	}
	want := 0
	if mode == "Running" {
		want = 1
		waitReady(t, ns, outcome.name)
	} else {
		waitSuspended(t, ns, outcome.name)
	}
	pods, err := dyn.Resource(cluster.Pods).Namespace(ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := 0
	for _, pod := range pods.Items {
		if owner := metav1.GetControllerOf(&pod); owner != nil && owner.UID == sandbox.GetUID() {
			owned++
		}
	}
	if owned != want {
		t.Errorf("%s is %s and has %d Pods", outcome.name, mode, owned)
	}
	t.Logf("%s: %d acknowledged actions, now %s", outcome.name, outcome.acks, mode)
}

func readPair(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	for file, into := range map[string]*[]byte{name + ".crt": &certificate, name + ".key": &key} {
		content, err := os.ReadFile(pki(file))
		if err != nil {
			t.Fatal(err)
		}
		*into = content
	}
	return certificate, key
}

func isAvailable() (bool, string) {
	service, err := dyn.Resource(cluster.APIServices).Get(context.Background(), cluster.APIService, metav1.GetOptions{})
	if err != nil {
		return false, err.Error()
	}
	status, _, message := cluster.Condition(service, "Available")
	return status == "True", message
}

// waitAvailable until the front passes requests on again.
func waitAvailable(t *testing.T) {
	t.Helper()
	eventually(t, "Available APIService", patience, isAvailable)
	eventually(t, "answer through the front", patience, func() (bool, string) {
		_, err := sandboxes("default").List(context.Background(), metav1.ListOptions{})
		return err == nil, fmt.Sprint(err)
	})
}
