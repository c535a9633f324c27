package sandbox_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/sandbox"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

// forgetful carries requests out and loses the answers of some.
type forgetful struct {
	next  http.RoundTripper
	loses *atomic.Int32
	asked *atomic.Int32
}

func (f forgetful) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := f.next.RoundTrip(request)
	f.asked.Add(1)
	if err == nil && f.loses.Add(-1) >= 0 {
		_ = answer.Body.Close()
		return nil, errors.New("the connection broke")
	}
	return answer, err
}

func TestClaims(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 2)
	cluster.Pool(t, ns, "empty", 0)
	ctx := sandboxtest.Within(t)
	// The one right that it takes.
	config := user(t, ns, "claimant", rbacv1.PolicyRule{
		APIGroups: []string{v1beta1.GroupName}, Resources: []string{"sandboxwarmpools/claim"}, Verbs: []string{"create"},
	})
	var loses, asked atomic.Int32
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return forgetful{next, &loses, &asked} })
	claimant := client(t, config, ns)
	sandboxtest.Eventually(t, "right", func() (bool, string) {
		_, err := claimant.Claim(ctx, "agents", nil, sandbox.ClaimOptions{DryRun: true})
		return err == nil, errorText(err)
	})

	bound, err := claimant.Claim(ctx, "agents", nil, sandbox.ClaimOptions{Ready: &sandbox.Wait{Timeout: 20 * time.Second}})
	if err != nil || bound.Name == "" || bound.Status.Sandbox == nil || bound.Status.Sandbox.LaunchType != v1beta1.LaunchWarm {
		t.Fatalf("%+v %v", bound, err)
	}

	loses.Store(2)
	asked.Store(0)
	again, err := claimant.Claim(ctx, "agents", &v1beta1.SandboxClaim{ObjectMeta: metav1.ObjectMeta{GenerateName: "lost-"}}, sandbox.ClaimOptions{})
	if err != nil || asked.Load() != 3 {
		t.Fatalf("%v after %d requests", err, asked.Load())
	}
	all, err := cluster.Ours.SandboxV1beta1().SandboxClaims(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, claim := range all.Items {
		if strings.HasPrefix(claim.Name, "lost-") {
			lost++
		}
	}
	if lost != 1 || len(all.Items) != 2 || again.UID == bound.UID {
		t.Errorf("%d claims, %d of the lost", len(all.Items), lost)
	}
	// All attempts fail: the error is the last, and the key finds what was made.
	loses.Store(2)
	key := &v1beta1.SandboxClaim{Spec: v1beta1.SandboxClaimSpec{IdempotencyKey: "mine"}}
	if _, err := claimant.Claim(ctx, "agents", key, sandbox.ClaimOptions{Attempts: 2}); err == nil || !strings.Contains(err.Error(), "the connection broke") {
		t.Errorf("%v", err)
	}
	found, err := claimant.Claim(ctx, "agents", key, sandbox.ClaimOptions{})
	if err != nil || found.Spec.IdempotencyKey != "mine" {
		t.Errorf("%+v %v", found, err)
	}

	asked.Store(0)
	fail := &v1beta1.SandboxClaim{Spec: v1beta1.SandboxClaimSpec{OnEmptyPool: v1beta1.OnEmptyPoolFail}}
	_, err = claimant.Claim(ctx, "empty", fail, sandbox.ClaimOptions{})
	if seconds, told := apierrors.SuggestsClientDelay(err); !sandbox.IsPoolExhausted(err) || !told || seconds != 1 || asked.Load() != 1 {
		t.Errorf("%v, %d after %d requests", err, seconds, asked.Load())
	}
	wait := &v1beta1.SandboxClaim{ObjectMeta: metav1.ObjectMeta{Name: "waits"}, Spec: v1beta1.SandboxClaimSpec{OnEmptyPool: v1beta1.OnEmptyPoolWait}}
	_, err = claimant.Claim(ctx, "empty", wait, sandbox.ClaimOptions{Bound: &sandbox.Wait{Timeout: 300 * time.Millisecond}, Attempts: 2})
	if !apierrors.IsTimeout(err) {
		t.Errorf("%v", err)
	}
	waiting, err := cluster.Ours.SandboxV1beta1().SandboxClaims(ns).Get(ctx, "waits", metav1.GetOptions{})
	if err != nil || waiting.Status.WaitingSince == nil {
		t.Errorf("%+v %v", waiting, err)
	}
	// What it may not do is told at once.
	asked.Store(0)
	if err := claimant.Release(ctx, bound.Name); !apierrors.IsForbidden(err) || asked.Load() != 1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	owner := client(t, cluster.Admin, ns)
	for range 2 {
		if err := owner.Release(ctx, bound.Name); err != nil {
			t.Error(err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

func TestANamespaceIsRequired(t *testing.T) {
	if _, err := sandbox.New(&rest.Config{}, ""); err == nil {
		t.Error("made without a namespace")
	}
}
