package suite

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// waitPolicy until the probe likes the NetworkPolicy, which is nil while there is none.
func waitPolicy(t *testing.T, namespace, name, what string, probe func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	var found *unstructured.Unstructured
	eventually(t, "NetworkPolicy "+name+" that is "+what, patience, func() (bool, string) {
		var err error
		found, err = dyn.Resource(cluster.NetworkPolicies).Namespace(namespace).Get(context.Background(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			found = nil
		} else if err != nil {
			return false, err.Error()
		}
		return probe(found), show(found)
	})
	return found
}

// rules of one direction, "ingress" or "egress".
func rules(policy *unstructured.Unstructured, direction string) []any {
	if policy == nil {
		return nil
	}
	found, _, _ := unstructured.NestedSlice(policy.Object, "spec", direction)
	return found
}

func mergeTemplate(t *testing.T, namespace, name, patch string) {
	t.Helper()
	_, err := dyn.Resource(cluster.Templates).Namespace(namespace).Patch(context.Background(), name,
		types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("patch template %s with %s: %v", name, patch, err)
	}
}

// waitTemplate until it is Ready and its status is that of its newest generation.
func waitTemplate(t *testing.T, namespace, name, what string, probe func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	var found *unstructured.Unstructured
	eventually(t, "template "+name+" that is "+what, patience, func() (bool, string) {
		found = get(t, cluster.Templates, namespace, name)
		seen, _, _ := unstructured.NestedInt64(found.Object, "status", "observedGeneration")
		return seen == found.GetGeneration() && isReady(found) && probe(found), show(found.Object["status"])
	})
	return found
}

func TestTemplateKeepsItsNetworkPolicy(t *testing.T) {
	calm(t)
	ctx := context.Background()
	ns := namespace(t)
	const name, policyName = "python", "python-network-policy"
	policies := dyn.Resource(cluster.NetworkPolicies).Namespace(ns)
	expectOutput(t, pipe(t, manifest(t, cluster.Template(ns, name)), "apply", "-f", "-"),
		"sandboxtemplate."+cluster.Group+"/"+name+" created\n")

	revision := func(template *unstructured.Unstructured) string {
		text, _, _ := unstructured.NestedString(template.Object, "status", "revision")
		return text
	}
	template := waitTemplate(t, ns, name, "Ready with a revision", func(template *unstructured.Unstructured) bool {
		return revision(template) != ""
	})
	policy := get(t, cluster.NetworkPolicies, ns, policyName)
	owner := metav1.GetControllerOf(policy)
	if owner == nil || owner.Kind != "SandboxTemplate" || owner.UID != template.GetUID() {
		t.Errorf("the policy's controller is %s", show(owner))
	}
	label := policy.GetLabels()[cluster.TemplateHashLabel]
	selected, _, _ := unstructured.NestedString(policy.Object, "spec", "podSelector", "matchLabels", cluster.TemplateHashLabel)
	if label == "" || selected != label {
		t.Errorf("the policy selects %q and carries %q", selected, label)
	}
	if in, out := rules(policy, "ingress"), rules(policy, "egress"); len(in) != 0 || len(out) != 2 {
		t.Errorf("the default has ingress %s and egress %s; want none, and the internet and DNS", show(in), show(out))
	}

	// The template's own rules, and nothing else of it: the same revision.
	mergeTemplate(t, ns, name, `{"spec":{"networkPolicy":{"ingress":[{"ports":[{"port":8080}]}],"egress":[]}}}`)
	closed := func(policy *unstructured.Unstructured) bool {
		return len(rules(policy, "ingress")) == 1 && len(rules(policy, "egress")) == 0
	}
	waitPolicy(t, ns, policyName, "the template's own", closed)
	same := waitTemplate(t, ns, name, "Ready again", func(*unstructured.Unstructured) bool { return true })
	if revision(same) != revision(template) {
		t.Errorf("the network policy has changed the revision from %s to %s", revision(template), revision(same))
	}
	// It has come to rest, although the cluster has filled in defaults.
	settled := get(t, cluster.NetworkPolicies, ns, policyName)

	// Somebody opens it, then somebody deletes it.
	_, err := policies.Patch(ctx, policyName, types.MergePatchType, []byte(`{"spec":{"egress":[{}]}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("open the policy: %v", err)
	}
	corrected := waitPolicy(t, ns, policyName, "closed again", closed)
	if got := corrected.GetGeneration() - settled.GetGeneration(); got != 2 {
		t.Errorf("%d changes of the policy, want the foreign one and its correction", got)
	}
	if err := policies.Delete(ctx, policyName, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete the policy: %v", err)
	}
	waitPolicy(t, ns, policyName, "there again", func(policy *unstructured.Unstructured) bool {
		return closed(policy) && policy.GetUID() != corrected.GetUID()
	})

	mergeTemplate(t, ns, name, `{"spec":{"networkPolicyManagement":"Unmanaged"}}`)
	waitGone(t, cluster.NetworkPolicies, ns, policyName)
	waitTemplate(t, ns, name, "Ready and left alone", func(*unstructured.Unstructured) bool { return true })

	// With the template goes its policy: the garbage collector's part.
	mergeTemplate(t, ns, name, `{"spec":{"networkPolicyManagement":"Managed"}}`)
	waitPolicy(t, ns, policyName, "back", closed)
	kubectl(t, "delete", "sandboxtemplate", name, "-n", ns)
	waitGone(t, cluster.NetworkPolicies, ns, policyName)
}
