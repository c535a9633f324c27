// Package suite proves the server against a real Kubernetes, with the clients that people use:
// client-go and kubectl. `cargo xtask test cluster` runs it.
package suite

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// Set once by TestMain, then only read.
var (
	env    cluster.Environment
	admin  *rest.Config
	dyn    dynamic.Interface
	core   kubernetes.Interface
	kcache string
)

var (
	// Those tests that share the cluster with others and have not ended yet.
	calmTests sync.WaitGroup
	// Most of a test is waiting for the kubelet, so more of them run than there are cores.
	calmSlots = make(chan struct{}, 5)
	oneAlone  sync.Mutex
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	// Go's own limit must leave room for the tests that wait in `alone`.
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(kcache); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func prepare() error {
	var err error
	if env, err = cluster.FromEnvironment(); err != nil {
		return err
	}
	if admin, err = env.RestConfig(); err != nil {
		return err
	}
	if dyn, err = dynamic.NewForConfig(admin); err != nil {
		return err
	}
	if core, err = kubernetes.NewForConfig(admin); err != nil {
		return err
	}
	// What kubectl remembers of an earlier server must not decide a test.
	kcache, err = os.MkdirTemp("", "kubectl-cache-")
	return err
}

// calm marks a test that may run beside others.
func calm(t *testing.T) {
	t.Helper()
	// Go starts every test up to its t.Parallel before it lets the first of them go on: whoever waits
	// in `alone` waits for all of them.
	calmTests.Add(1)
	t.Cleanup(calmTests.Done)
	t.Parallel()
	calmSlots <- struct{}{}
	t.Cleanup(func() { <-calmSlots })
}

// alone marks a test that breaks something the others need: it runs after them, one at a time.
func alone(t *testing.T) {
	t.Helper()
	t.Parallel()
	calmTests.Wait()
	oneAlone.Lock()
	t.Cleanup(oneAlone.Unlock)
}

// root of the checkout.
func root() string { return filepath.Dir(env.DevDir) }
