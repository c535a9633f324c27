package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// A step that takes this long has failed.
const stepLimit = time.Minute

type bench struct {
	namespace string
	dyn       dynamic.Interface
	core      kubernetes.Interface
	writes    *writes

	pods, sandboxes, suspends, resumes []time.Duration
	podWrites, sandboxWrites           writeCounts
}

func (b *bench) forget() {
	b.pods, b.sandboxes, b.suspends, b.resumes = nil, nil, nil, nil
	b.podWrites, b.sandboxWrites = writeCounts{}, writeCounts{}
}

// round takes a bare Pod and a Sandbox with the same spec, so that both see the same machine.
func (b *bench) round(ctx context.Context, name string) error {
	if err := b.pod(ctx, "pod-"+name); err != nil {
		return fmt.Errorf("pod: %w", err)
	}
	if err := b.sandbox(ctx, "sandbox-"+name); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

func (b *bench) pod(ctx context.Context, name string) error {
	took, err := b.timed(ctx, cluster.Pods, name, isReady, func(ctx context.Context) error {
		_, err := b.resource(cluster.Pods).Create(ctx, cluster.Pod(b.namespace, name), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	b.pods = append(b.pods, took)
	if err := b.writes.settle(ctx, name); err != nil {
		return err
	}
	b.podWrites.launch.add(b.writes.of(name))
	return b.remove(ctx, cluster.Pods, name)
}

func (b *bench) sandbox(ctx context.Context, name string) error {
	took, err := b.timed(ctx, cluster.Sandboxes, name, isReady, func(ctx context.Context) error {
		_, err := b.resource(cluster.Sandboxes).Create(ctx, cluster.Sandbox(b.namespace, name), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	b.sandboxes = append(b.sandboxes, took)
	if err := b.tally(ctx, name, &b.sandboxWrites.launch); err != nil {
		return err
	}

	took, err = b.timed(ctx, cluster.Sandboxes, name, isSuspended, b.action(name, "suspend"))
	if err != nil {
		return fmt.Errorf("suspend: %w", err)
	}
	b.suspends = append(b.suspends, took)
	if err := b.tally(ctx, name, &b.sandboxWrites.suspend); err != nil {
		return err
	}

	took, err = b.timed(ctx, cluster.Sandboxes, name, isReady, b.action(name, "resume"))
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	b.resumes = append(b.resumes, took)
	if err := b.tally(ctx, name, &b.sandboxWrites.resume); err != nil {
		return err
	}
	if err := b.remove(ctx, cluster.Sandboxes, name); err != nil {
		return err
	}
	return b.gone(ctx, cluster.Pods, name)
}

func (b *bench) action(name, action string) func(context.Context) error {
	return func(ctx context.Context) error {
		path := fmt.Sprintf("/apis/%s/namespaces/%s/sandboxes/%s/%s", cluster.GroupVersion, b.namespace, name, action)
		return b.core.Discovery().RESTClient().Post().AbsPath(path).Do(ctx).Error()
	}
}

// tally adds what was written since the last tally.
func (b *bench) tally(ctx context.Context, name string, to *counts) error {
	if err := b.writes.settle(ctx, name); err != nil {
		return err
	}
	to.add(b.writes.of(name))
	return nil
}

func (b *bench) resource(resource schema.GroupVersionResource) dynamic.ResourceInterface {
	return b.dyn.Resource(resource).Namespace(b.namespace)
}

// timed does something, and waits on a watch that was open before for what it leads to.
func (b *bench) timed(ctx context.Context, resource schema.GroupVersionResource, name string, reached func(*unstructured.Unstructured) bool, do func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	events, err := b.watch(ctx, resource, name)
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	started := time.Now()
	if err := do(ctx); err != nil {
		return 0, err
	}
	last := "nothing"
	for {
		select {
		case event, open := <-events.ResultChan():
			object, ok := event.Object.(*unstructured.Unstructured)
			if !open || !ok {
				return 0, fmt.Errorf("the watch ended: %v", event)
			}
			if event.Type != watch.Deleted && reached(object) {
				return time.Since(started), nil
			}
			last = fmt.Sprint(object.Object["status"])
		case <-ctx.Done():
			return 0, fmt.Errorf("not reached after %v, last seen: %s", stepLimit, last)
		}
	}
}

func (b *bench) watch(ctx context.Context, resource schema.GroupVersionResource, name string) (watch.Interface, error) {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	list, err := b.resource(resource).List(ctx, options)
	if err != nil {
		return nil, err
	}
	options.ResourceVersion = list.GetResourceVersion()
	return b.resource(resource).Watch(ctx, options)
}

func (b *bench) remove(ctx context.Context, resource schema.GroupVersionResource, name string) error {
	if err := b.resource(resource).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return b.gone(ctx, resource, name)
}

// gone waits for the end, so that the next launch has the node for itself.
func (b *bench) gone(ctx context.Context, resource schema.GroupVersionResource, name string) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	for {
		list, err := b.resource(resource).List(ctx, options)
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			return nil
		}
		options.ResourceVersion = list.GetResourceVersion()
		events, err := b.resource(resource).Watch(ctx, options)
		if err != nil {
			return err
		}
		for event := range events.ResultChan() {
			if event.Type == watch.Deleted {
				events.Stop()
				return nil
			}
		}
		events.Stop()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s %s is still there: %w", resource.Resource, name, err)
		}
		options.ResourceVersion = ""
	}
}

func isReady(object *unstructured.Unstructured) bool {
	status, _, _ := cluster.Condition(object, "Ready")
	return status == "True"
}

func isSuspended(object *unstructured.Unstructured) bool {
	status, _, _ := cluster.Condition(object, "Suspended")
	return status == "True"
}

// awaitServiceAccount because no Pod is admitted before it is there.
func awaitServiceAccount(ctx context.Context, core kubernetes.Interface, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	wait := retry.DefaultBackoff
	wait.Steps, wait.Cap = 1000, time.Second
	always := func(error) bool { return ctx.Err() == nil }
	err := retry.OnError(wait, always, func() error {
		_, err := core.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return errors.Join(err, ctx.Err())
}
