package suite

import (
	"context"
	"fmt"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// No metrics are served in the test cluster: what a HorizontalPodAutoscaler does without any is to keep
// its target between minReplicas and maxReplicas, through `scale`.
func TestAnAutoscalerScalesAPool(t *testing.T) {
	calm(t)
	ns := namespace(t)
	makePool(t, ns, "pool", 1)
	minimum := int32(2)
	scaler := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "pool"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				APIVersion: cluster.GroupVersion, Kind: "SandboxWarmPool", Name: "pool",
			},
			MinReplicas: &minimum,
			MaxReplicas: 3,
		},
	}
	scalers := core.AutoscalingV2().HorizontalPodAutoscalers(ns)
	if _, err := scalers.Create(context.Background(), scaler, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	asked := func(replicas int64) {
		t.Helper()
		// The autoscaler looks every 15 seconds.
		eventually(t, fmt.Sprintf("pool of %d asked for by the autoscaler", replicas), patience, func() (bool, string) {
			found, err := scalers.Get(context.Background(), "pool", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			now, _, _ := unstructured.NestedInt64(get(t, cluster.WarmPools, ns, "pool").Object, "spec", "replicas")
			return now == replicas, fmt.Sprintf("%d; %s", now, show(found.Status.Conditions))
		})
		waitPool(t, ns, "pool", replicas)
	}
	asked(2)
	kubectl(t, "scale", "sandboxwarmpool", "pool", "-n", ns, "--replicas=5")
	asked(3)
}
