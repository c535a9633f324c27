package suite

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// The store hangs while claims are made: each gets a typed answer in bounded time, and when it is back
// the same requests find what became of them.
func TestClaimsWhileTheStoreHangs(t *testing.T) {
	alone(t)
	ns := namespace(t)
	makePool(t, ns, "hung", 3)
	pid, err := strconv.Atoi(servicePID(t, ourEtcd))
	if err != nil {
		t.Fatal(err)
	}
	post := func(index int) response {
		body := fmt.Sprintf(`{"spec":{"idempotencyKey":"k%d","onEmptyPool":"Fail"}}`, index)
		return send(t, admin, http.MethodPost, poolPath(ns, "hung")+"/claim", "application/json", body)
	}

	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	// Whatever fails below, the tests after this one need the store.
	t.Cleanup(goOn)
	var all sync.WaitGroup
	for index := range 3 {
		all.Go(func() {
			started := time.Now()
			got := post(index)
			if got.code != http.StatusGatewayTimeout && got.code != http.StatusServiceUnavailable {
				t.Errorf("claim %d: %d %s", index, got.code, got.body)
			}
			mustContain(t, "the answer", got.body, `"kind":"Status"`, `"status":"Failure"`)
			if took := time.Since(started); took > 30*time.Second {
				t.Errorf("claim %d was answered after %v", index, took)
			}
		})
	}
	all.Wait()
	goOn()
	waitAvailable(t)

	taken := map[string]bool{}
	for index := range 3 {
		eventually(t, fmt.Sprintf("claim %d", index), patience, func() (bool, string) {
			got := post(index)
			if got.code != http.StatusOK && got.code != http.StatusCreated {
				return false, fmt.Sprintf("%d %s", got.code, got.body)
			}
			claim := claimed(t, got, got.code)
			taken[boundTo(claim, "uid")] = true
			return true, ""
		})
	}
	if len(taken) != 3 {
		t.Errorf("three claims have %d Sandboxes", len(taken))
	}
	claims, err := dyn.Resource(cluster.SandboxClaims).Namespace(ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(claims.Items) != 3 {
		t.Errorf("%d claims for three keys", len(claims.Items))
	}
	// Refilled, and nothing beside it that nobody owns.
	waitPool(t, ns, "hung", 3)
	eventually(t, "three in stock and three claimed", patience, func() (bool, string) {
		found, err := sandboxes(ns).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		return len(found.Items) == 6, fmt.Sprintf("%d Sandboxes", len(found.Items))
	})
}
