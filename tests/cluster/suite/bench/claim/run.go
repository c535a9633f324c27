package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// Names of xtask's components.
const (
	serverName     = "sandbox-apiserver"
	serverEtcdName = "sandbox-etcd"
	frontName      = "kube-apiserver"
	frontEtcdName  = "etcd"
)

// What the end of thousands of Sandboxes and Pods may take.
const endLimit = 10 * time.Minute

// run of the benchmark.
type run struct {
	flags
	env    cluster.Environment
	admin  *rest.Config
	direct *rest.Config
	core   kubernetes.Interface
	dyn    dynamic.Interface
	// Who is measured, by component.
	processes map[string]process.Process
	stores    *stores
	namespace string
	model     *model
	stock     *stock
	cleanup   []func() error

	mutex sync.Mutex
	// Sandboxes that were given to claims, by uid.
	given map[string]bool
	twice []string
}

func prepare(ctx context.Context, chosen flags) (*run, error) {
	r := &run{flags: chosen, given: map[string]bool{}}
	var err error
	if r.env, err = cluster.FromEnvironment(); err != nil {
		return nil, err
	}
	if r.processes, err = parsePIDs(os.Getenv("BENCH_PIDS")); err != nil {
		return nil, err
	}
	r.processes["harness"] = process.Process{PID: os.Getpid()}
	if r.admin, err = r.env.RestConfig(); err != nil {
		return nil, err
	}
	r.direct = wire.Directly(r.env, r.env.Server)
	if r.core, err = kubernetes.NewForConfig(r.admin); err != nil {
		return nil, err
	}
	if r.dyn, err = dynamic.NewForConfig(r.admin); err != nil {
		return nil, err
	}
	if r.stores, err = openStores(r.env); err != nil {
		return nil, err
	}
	made, err := r.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-claim-"},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	r.namespace = made.Name
	r.cleanup = append(r.cleanup, r.removeNamespace)
	return r, nil
}

// parsePIDs of `NAME=PID` with commas between.
func parsePIDs(text string) (map[string]process.Process, error) {
	found := map[string]process.Process{}
	for pair := range strings.SplitSeq(text, ",") {
		name, number, ok := strings.Cut(pair, "=")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, fmt.Errorf("BENCH_PIDS is %q: run `cargo xtask bench claim`", text)
		}
		found[name] = process.Process{PID: pid}
	}
	for _, name := range []string{serverName, serverEtcdName, frontName, frontEtcdName} {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("BENCH_PIDS does not have %s", name)
		}
	}
	return found, nil
}

// removeNamespace and wait: kwok has to be there to end its Pods.
func (r *run) removeNamespace() error {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	namespaces := r.core.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, r.namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return process.Await(ctx, "end of namespace "+r.namespace, endLimit, func() error {
		_, err := namespaces.Get(ctx, r.namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
}

// close what was opened, the last first; even after an interrupt.
func (r *run) close() error {
	var failures []error
	for i := len(r.cleanup) - 1; i >= 0; i-- {
		failures = append(failures, r.cleanup[i]())
	}
	r.stores.close()
	return errors.Join(failures...)
}

// note whom a Sandbox was given to: nobody may have it twice.
func (r *run) note(uids []string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, uid := range uids {
		if r.given[uid] {
			r.twice = append(r.twice, uid)
		}
		r.given[uid] = true
	}
}

func (r *run) check() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	fmt.Printf("\n%d Sandboxes were given to claims, %d of them twice.\n", len(r.given), len(r.twice))
	if len(r.twice) > 0 {
		return fmt.Errorf("given twice: %v", r.twice)
	}
	return nil
}

func (r *run) log(name string) string {
	return filepath.Join(r.env.DevDir, "logs", "bench-"+name+".log")
}

// asks whether a cell is wanted.
func (r *run) wants(title string) bool { return r.only.MatchString(title) }

// scaled down for a quick run.
func (r *run) scaled(count int) int {
	if r.quick {
		return max(count/10, 1)
	}
	return count
}
