package cmd

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// completing is how long a shell may be held up.
	completing = 3 * time.Second
	namesMax   = 500
)

// live completes names of the cluster; where it can't be asked there are none.
func (p *plugin) live(list func(context.Context, *asked) []string, toComplete string, but []string) ([]string, cobra.ShellCompDirective) {
	a, err := p.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), completing)
	defer cancel()
	var found []string
	for _, name := range list(ctx, a) {
		if strings.HasPrefix(name, toComplete) && !slices.Contains(but, name) {
			found = append(found, name)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

var some = metav1.ListOptions{Limit: namesMax}

// names of a list, if it could be had.
func names(list runtime.Object, err error) (all []string) {
	if err != nil {
		return nil
	}
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		object, err := meta.Accessor(item)
		if err == nil {
			all = append(all, object.GetName())
		}
		return err
	})
	return all
}

func sandboxNames(ctx context.Context, a *asked) []string {
	return names(a.objects.SandboxV1beta1().Sandboxes(a.namespace).List(ctx, some))
}

func claimNames(ctx context.Context, a *asked) []string {
	return names(a.objects.SandboxV1beta1().SandboxClaims(a.namespace).List(ctx, some))
}

func poolNames(ctx context.Context, a *asked) []string {
	return names(a.objects.SandboxV1beta1().SandboxWarmPools(a.namespace).List(ctx, some))
}

func targetNames(ctx context.Context, a *asked) []string {
	names := sandboxNames(ctx, a)
	for _, claim := range claimNames(ctx, a) {
		names = append(names, "claim/"+claim)
	}
	return names
}

// completeTargets completes one name of a Sandbox or a claim, and nothing after it.
func (p *plugin) completeTargets(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.live(targetNames, toComplete, nil)
}

func (p *plugin) completeAllTargets(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return p.live(targetNames, toComplete, args)
}

func (p *plugin) completeClaims(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return p.live(claimNames, toComplete, args)
}

func (p *plugin) completePools(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.live(poolNames, toComplete, nil)
}

// completeCopy completes a name up to its colon; paths here are the shell's.
func (p *plugin) completeCopy(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || strings.ContainsAny(toComplete, ":") || strings.HasPrefix(toComplete, ".") || strings.HasPrefix(toComplete, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := p.live(targetNames, toComplete, nil)
	for i := range names {
		names[i] += ":"
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

func (p *plugin) completeNamespaces(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return p.live(func(ctx context.Context, a *asked) []string {
		return names(a.core.CoreV1().Namespaces().List(ctx, some))
	}, toComplete, nil)
}

// completeContainers of the Sandbox that is named before.
func (p *plugin) completeContainers(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.live(func(ctx context.Context, a *asked) (containers []string) {
		found, err := a.sandboxes(ctx, args[0])
		if err != nil {
			return nil
		}
		box, err := a.objects.SandboxV1beta1().Sandboxes(a.namespace).Get(ctx, found[0], metav1.GetOptions{})
		if err != nil {
			return nil
		}
		for _, container := range box.Spec.PodTemplate.Spec.Containers {
			containers = append(containers, container.Name)
		}
		return containers
	}, toComplete, nil)
}
