package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
)

const (
	kwokNodes = 20
	// On the nodes that kwok may touch, as a taint too: nobody else's Pod shall go there.
	kwokKey = "bench.sandbox-apiserver.local/kwok"
)

//go:embed stages.yaml
var stages []byte

// startKwok and make its nodes; both go with the run.
func (r *run) startKwok(ctx context.Context) error {
	program := os.Getenv("BENCH_KWOK")
	if program == "" {
		return errors.New("BENCH_KWOK is not set: run `cargo xtask bench claim`")
	}
	config := filepath.Join(r.env.DevDir, "config", "bench-kwok.yaml")
	if err := os.WriteFile(config, stages, 0o644); err != nil {
		return err
	}
	// What an interrupted run has left has the same names.
	if err := r.removeNodes(); err != nil {
		return err
	}
	kwok, err := process.Start(r.log("kwok"), program,
		"--kubeconfig="+r.env.Kubeconfig, "--config="+config, "--manage-all-nodes=false",
		"--manage-nodes-with-label-selector="+kwokKey+"=true", "--node-ip=10.88.0.1", "--cidr=10.99.0.1/16",
		"--node-lease-duration-seconds=40")
	if err != nil {
		return err
	}
	r.processes["kwok"] = kwok
	// The namespace is removed while kwok still runs.
	r.cleanup = append([]func() error{r.removeNodes, func() error { kwok.Stop(); return os.Remove(config) }}, r.cleanup...)
	for i := range kwokNodes {
		name := fmt.Sprintf("bench-kwok-%02d", i)
		_, err := r.core.CoreV1().Nodes().Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{kwokKey: "true", "kubernetes.io/hostname": name}},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: kwokKey, Value: "true", Effect: corev1.TaintEffectNoSchedule}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	return process.Await(ctx, "ready nodes of kwok", time.Minute, func() error {
		nodes, err := r.nodes(ctx)
		if err != nil {
			return err
		}
		ready := 0
		for _, node := range nodes {
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 1 {
					ready++
				}
			}
		}
		if ready < kwokNodes {
			return fmt.Errorf("%d of %d are ready (log %s)", ready, kwokNodes, r.log("kwok"))
		}
		return nil
	})
}

func (r *run) nodes(ctx context.Context) ([]corev1.Node, error) {
	list, err := r.core.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: kwokKey})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (r *run) removeNodes() error {
	ctx := context.Background()
	nodes, err := r.nodes(ctx)
	failures := []error{err}
	for _, node := range nodes {
		if err := r.core.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// cordon every node of kwok, or take it back.
func (r *run) cordon(ctx context.Context, cordoned bool) error {
	nodes, err := r.nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned)
		if _, err := r.core.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// fakePod is that of all benchmarks, on a node of kwok.
func fakePod() map[string]any {
	spec := cluster.PodSpec()
	spec["nodeSelector"] = map[string]any{kwokKey: "true"}
	spec["tolerations"] = []any{map[string]any{"key": kwokKey, "operator": "Exists", "effect": "NoSchedule"}}
	return spec
}
