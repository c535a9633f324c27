package cmd

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/sandbox"
)

// named is what the user calls by a name.
type named struct {
	isClaim bool
	name    string
	// isSure says that he told its kind.
	isSure bool
}

func parseName(text string) (named, error) {
	kind, name, found := strings.Cut(text, "/")
	if !found {
		return named{name: text}, nil
	}
	kind, _, _ = strings.Cut(strings.ToLower(kind), ".")
	switch {
	case name == "" || strings.Contains(name, "/"):
		return named{}, fmt.Errorf("%q is not a name: NAME, sandbox/NAME or claim/NAME", text)
	case kind == "sandbox" || kind == "sandboxes":
		return named{name: name, isSure: true}, nil
	case kind == "claim" || kind == "sandboxclaim" || kind == "sandboxclaims":
		return named{isClaim: true, name: name, isSure: true}, nil
	}
	return named{}, fmt.Errorf("%q is neither a sandbox nor a claim", text)
}

// find tells a Sandbox from a claim by looking, where the user did not say.
func (a *asked) find(ctx context.Context, text string) (named, error) {
	it, err := parseName(text)
	if err != nil || it.isSure {
		return it, err
	}
	_, missing := a.objects.SandboxV1beta1().Sandboxes(a.namespace).Get(ctx, it.name, metav1.GetOptions{})
	if missing == nil {
		return it, nil
	}
	if !apierrors.IsNotFound(missing) && !apierrors.IsForbidden(missing) {
		return it, missing
	}
	_, err = a.objects.SandboxV1beta1().SandboxClaims(a.namespace).Get(ctx, it.name, metav1.GetOptions{})
	if err == nil {
		it.isClaim = true
		return it, nil
	}
	// Who may look at neither may still use it: the server tells.
	if apierrors.IsForbidden(missing) {
		return it, nil
	}
	return it, missing
}

// target is where streams go.
func (a *asked) target(ctx context.Context, text string) (sandbox.Target, error) {
	it, err := a.find(ctx, text)
	if err != nil {
		return sandbox.Target{}, err
	}
	if it.isClaim {
		return sandbox.Claimed(it.name), nil
	}
	return sandbox.Named(it.name), nil
}

// sandboxes are those that a name stands for: all of a claim's.
func (a *asked) sandboxes(ctx context.Context, text string) ([]string, error) {
	it, err := a.find(ctx, text)
	if err != nil {
		return nil, err
	}
	if !it.isClaim {
		return []string{it.name}, nil
	}
	claim, err := a.objects.SandboxV1beta1().SandboxClaims(a.namespace).Get(ctx, it.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	bound := bound(claim)
	if len(bound) == 0 {
		return nil, fmt.Errorf("the claim %q is not bound to a Sandbox", it.name)
	}
	names := make([]string, len(bound))
	for i, one := range bound {
		names[i] = one.Name
	}
	return names, nil
}

// bound is what a claim has.
func bound(claim *v1beta1.SandboxClaim) []v1beta1.BoundSandbox {
	if len(claim.Status.Sandboxes) > 0 {
		return claim.Status.Sandboxes
	}
	if claim.Status.Sandbox != nil {
		return []v1beta1.BoundSandbox{*claim.Status.Sandbox}
	}
	return nil
}
