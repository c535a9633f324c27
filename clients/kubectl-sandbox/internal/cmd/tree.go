package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
)

// node of a tree: an object, what is to be said of it, and what is below.
type node struct {
	name, state string
	below       []*node
}

func (n *node) add(child *node) { n.below = append(n.below, child) }

// print with the branches of a tree.
func (n *node) print(out io.Writer, first, rest string) {
	fmt.Fprintf(out, "%s%s\t%s\n", first, n.name, n.state)
	for i, child := range n.below {
		if i == len(n.below)-1 {
			child.print(out, rest+"└─ ", rest+"   ")
		} else {
			child.print(out, rest+"├─ ", rest+"│  ")
		}
	}
}

func newTree(p *plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "tree NAME",
		Short: "Show what belongs together: pool, claims, sandboxes, and what they are made of",
		Long: `Show what belongs together: pool, claims, sandboxes, and what they are made of.

 NAME is a Sandbox or a claim, or "pool/NAME". What you may not look at is shown as that.`,
		Example: `  kubectl sandbox tree my-sandbox

  # All that is in stock, and all that is claimed
  kubectl sandbox tree pool/agents`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeTree,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.asking(func(ctx context.Context, a *asked) error {
				root, err := a.tree(ctx, args[0])
				if err != nil {
					return err
				}
				table := printers.GetNewTabWriter(p.Out)
				root.print(table, "", "")
				return table.Flush()
			})
		},
	}
}

func (p *plugin) completeTree(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.live(func(ctx context.Context, a *asked) []string {
		names := targetNames(ctx, a)
		for _, pool := range poolNames(ctx, a) {
			names = append(names, "pool/"+pool)
		}
		return names
	}, toComplete, nil)
}

func (a *asked) tree(ctx context.Context, text string) (*node, error) {
	for _, kind := range []string{"pool/", "sandboxwarmpool/", "sandboxwarmpools/"} {
		if name, isPool := strings.CutPrefix(text, kind); isPool {
			return a.poolTree(ctx, name)
		}
	}
	it, err := a.find(ctx, text)
	if err != nil {
		return nil, err
	}
	objects := a.objects.SandboxV1beta1()
	if it.isClaim {
		claim, err := objects.SandboxClaims(a.namespace).Get(ctx, it.name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return a.under(claim, a.claimNode(ctx, claim)), nil
	}
	box, err := objects.Sandboxes(a.namespace).Get(ctx, it.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	below := a.sandboxNode(ctx, box)
	for _, owner := range box.OwnerReferences {
		switch owner.Kind {
		case "SandboxClaim":
			claim, err := objects.SandboxClaims(a.namespace).Get(ctx, owner.Name, metav1.GetOptions{})
			if err != nil {
				return &node{"SandboxClaim/" + owner.Name, unreadable(err), []*node{below}}, nil
			}
			return a.under(claim, &node{"SandboxClaim/" + claim.Name, readiness(claim.Status.Conditions), []*node{below}}), nil
		case "SandboxWarmPool":
			return &node{"SandboxWarmPool/" + owner.Name, "in stock", []*node{below}}, nil
		}
	}
	return below, nil
}

// under the pool or the template that the claim is of.
func (a *asked) under(claim *v1beta1.SandboxClaim, below *node) *node {
	switch {
	case claim.Spec.WarmPoolRef != nil:
		return &node{"SandboxWarmPool/" + claim.Spec.WarmPoolRef.Name, "claimed from", []*node{below}}
	case claim.Spec.SandboxTemplateRef != nil:
		return &node{"SandboxTemplate/" + claim.Spec.SandboxTemplateRef.Name, "claimed of", []*node{below}}
	}
	return below
}

func (a *asked) poolTree(ctx context.Context, name string) (*node, error) {
	objects := a.objects.SandboxV1beta1()
	pool, err := objects.SandboxWarmPools(a.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	root := &node{name: "SandboxWarmPool/" + name, state: poolState(pool)}
	root.add(&node{name: "SandboxTemplate/" + pool.Spec.SandboxTemplateRef.Name, state: "revision " + orNone(pool.Status.TemplateRevision)})
	claims, err := objects.SandboxClaims(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		root.add(&node{name: "SandboxClaims", state: unreadable(err)})
	} else {
		for i := range claims.Items {
			claim := &claims.Items[i]
			if claim.Spec.WarmPoolRef != nil && claim.Spec.WarmPoolRef.Name == name {
				root.add(a.claimNode(ctx, claim))
			}
		}
	}
	boxes, err := objects.Sandboxes(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		root.add(&node{name: "Sandboxes", state: unreadable(err)})
		return root, nil
	}
	for i := range boxes.Items {
		for _, owner := range boxes.Items[i].OwnerReferences {
			if owner.UID == pool.UID {
				root.add(a.sandboxNode(ctx, &boxes.Items[i]))
			}
		}
	}
	return root, nil
}

func (a *asked) claimNode(ctx context.Context, claim *v1beta1.SandboxClaim) *node {
	root := &node{name: "SandboxClaim/" + claim.Name, state: readiness(claim.Status.Conditions)}
	for _, one := range bound(claim) {
		box, err := a.objects.SandboxV1beta1().Sandboxes(a.namespace).Get(ctx, one.Name, metav1.GetOptions{})
		if err != nil {
			root.add(&node{name: "Sandbox/" + one.Name, state: unreadable(err)})
			continue
		}
		root.add(a.sandboxNode(ctx, box))
	}
	return root
}

// sandboxNode with what the Sandbox is made of in the cluster.
func (a *asked) sandboxNode(ctx context.Context, box *v1beta1.Sandbox) *node {
	root := &node{name: "Sandbox/" + box.Name, state: string(box.Status.Phase)}
	if ready := condition(box.Status.Conditions, "Ready"); ready != nil && ready.Status != metav1.ConditionTrue {
		root.state += ": " + ready.Message
	}
	if box.Status.Selector == "" {
		return root
	}
	core, of := a.core.CoreV1(), metav1.ListOptions{LabelSelector: box.Status.Selector}
	if pods, err := core.Pods(box.Namespace).List(ctx, of); err != nil {
		root.add(&node{name: "Pod", state: unreadable(err)})
	} else {
		for _, pod := range pods.Items {
			root.add(&node{name: "Pod/" + pod.Name, state: strings.TrimSpace(fmt.Sprintf("%s %s", pod.Status.Phase, pod.Spec.NodeName))})
		}
	}
	if services, err := core.Services(box.Namespace).List(ctx, of); err != nil {
		root.add(&node{name: "Service", state: unreadable(err)})
	} else {
		for _, service := range services.Items {
			root.add(&node{name: "Service/" + service.Name, state: box.Status.ServiceFQDN})
		}
	}
	if volumes, err := core.PersistentVolumeClaims(box.Namespace).List(ctx, of); err != nil {
		root.add(&node{name: "PersistentVolumeClaim", state: unreadable(err)})
	} else {
		for _, volume := range volumes.Items {
			root.add(&node{name: "PersistentVolumeClaim/" + volume.Name, state: string(volume.Status.Phase)})
		}
	}
	return root
}

// unreadable says why an object is not shown.
func unreadable(err error) string {
	var status apierrors.APIStatus
	switch {
	case apierrors.IsForbidden(err):
		return "<you may not look at it>"
	case apierrors.IsNotFound(err):
		return "<gone>"
	case errors.As(err, &status):
		return "<" + status.Status().Message + ">"
	}
	return "<" + err.Error() + ">"
}

func readiness(conditions []metav1.Condition) string {
	ready := condition(conditions, "Ready")
	switch {
	case ready == nil:
		return "not looked at yet"
	case ready.Status == metav1.ConditionTrue:
		return "Ready"
	}
	return ready.Reason + ": " + ready.Message
}

func poolState(pool *v1beta1.SandboxWarmPool) string {
	wanted := int32(1)
	if pool.Spec.Replicas != nil {
		wanted = *pool.Spec.Replicas
	}
	return fmt.Sprintf("%d of %d ready", pool.Status.ReadyReplicas, wanted)
}

func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}
