// Command launch measures what a Sandbox costs over the bare Pod in it: time from create to Ready, time of
// suspend and resume, and writes in both etcds. `cargo xtask bench launch` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

func main() {
	rounds := flag.Int("n", 20, "how many sandboxes, one after another")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *rounds)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int) (err error) {
	env, err := cluster.FromEnvironment()
	if err != nil {
		return err
	}
	config, err := env.RestConfig()
	if err != nil {
		return err
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	namespace, err := core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-launch-"},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	defer func() {
		// Even after an interrupt.
		if end := core.CoreV1().Namespaces().Delete(context.Background(), namespace.Name, metav1.DeleteOptions{}); err == nil {
			err = end
		}
	}()
	if err := awaitServiceAccount(ctx, core, namespace.Name); err != nil {
		return err
	}
	writes, err := countWrites(ctx, env, namespace.Name)
	if err != nil {
		return err
	}
	defer writes.close()
	conditions, err := figures.Describe(ctx, env, core)
	if err != nil {
		return err
	}
	bench := &bench{namespace: namespace.Name, dyn: dyn, core: core, writes: writes}
	// The first of each kind pays for connections and caches, of kubelet as of ours.
	if err := bench.round(ctx, "warm-up"); err != nil {
		return err
	}
	bench.forget()
	for i := range rounds {
		if err := bench.round(ctx, fmt.Sprintf("n%02d", i)); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
	}
	fmt.Print(conditions)
	bench.report(os.Stdout, rounds)
	return nil
}
