package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const (
	controllerName = "controller"
	// Workers, and updates of one claim's members at a time.
	modelWorkers = 10
)

// controller of the model, as controllers of claims usually are: informers, a work queue, optimistic updates.
type controller struct {
	claims, members dynamic.ResourceInterface
	queue           workqueue.TypedRateLimitingInterface[string]
	known           cache.Store

	mutex sync.Mutex
	free  map[string]*unstructured.Unstructured
}

// control the claims of a namespace until the end.
func control(ctx context.Context, namespace string) error {
	env, err := cluster.FromEnvironment()
	if err != nil {
		return err
	}
	config, err := env.RestConfig()
	if err != nil {
		return err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, namespace, nil)
	claims, members := factory.ForResource(modelClaims).Informer(), factory.ForResource(modelMembers).Informer()
	c := &controller{
		claims:  dyn.Resource(modelClaims).Namespace(namespace),
		members: dyn.Resource(modelMembers).Namespace(namespace),
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
		known:   claims.GetStore(),
		free:    map[string]*unstructured.Unstructured{},
	}
	_, memberErr := members.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { c.see(object.(*unstructured.Unstructured)) },
		UpdateFunc: func(_, object any) { c.see(object.(*unstructured.Unstructured)) },
		DeleteFunc: c.forget,
	})
	enqueue := func(object any) {
		if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
			c.queue.Add(key)
		}
	}
	_, claimErr := claims.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, UpdateFunc: func(_, object any) { enqueue(object) },
	})
	if err := errors.Join(memberErr, claimErr); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	var workers sync.WaitGroup
	for range modelWorkers {
		workers.Go(func() { c.work(ctx) })
	}
	<-ctx.Done()
	c.queue.ShutDown()
	workers.Wait()
	return nil
}

func (c *controller) work(ctx context.Context) {
	for {
		key, stop := c.queue.Get()
		if stop {
			return
		}
		if err := c.bind(ctx, key); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, key, err)
			c.queue.AddRateLimited(key)
		} else {
			c.queue.Forget(key)
		}
		c.queue.Done(key)
	}
}

// see a member: free is one that no claim has.
func (c *controller) see(member *unstructured.Unstructured) {
	owner, _, _ := unstructured.NestedString(member.Object, "spec", "claim")
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if owner == "" {
		c.free[member.GetName()] = member
	} else {
		delete(c.free, member.GetName())
	}
}

func (c *controller) forget(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if member, ok := object.(*unstructured.Unstructured); ok {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		delete(c.free, member.GetName())
	}
}

// take a free member that no other worker gets meanwhile.
func (c *controller) take() *unstructured.Unstructured {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for name, member := range c.free {
		delete(c.free, name)
		return member.DeepCopy()
	}
	return nil
}

// bind a claim: first its members, one optimistic update each, then its status.
func (c *controller) bind(ctx context.Context, key string) error {
	found, exists, err := c.known.GetByKey(key)
	if err != nil || !exists {
		return err
	}
	claim := found.(*unstructured.Unstructured)
	if done, _, _ := unstructured.NestedSlice(claim.Object, "status", "members"); len(done) > 0 {
		return nil
	}
	replicas, _, _ := unstructured.NestedInt64(claim.Object, "spec", "replicas")
	uids := make([]any, replicas)
	failures := make([]error, replicas)
	var updates sync.WaitGroup
	places := make(chan struct{}, modelWorkers)
	for i := range uids {
		places <- struct{}{}
		updates.Go(func() {
			defer func() { <-places }()
			uids[i], failures[i] = c.reserve(ctx, claim.GetName())
		})
	}
	updates.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	claim = claim.DeepCopy()
	claim.Object["status"] = map[string]any{"phase": "Bound", "members": uids}
	_, err = c.claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}

func (c *controller) reserve(ctx context.Context, claim string) (any, error) {
	for {
		member := c.take()
		if member == nil {
			return nil, errors.New("no member is free")
		}
		if err := unstructured.SetNestedField(member.Object, claim, "spec", "claim"); err != nil {
			return nil, err
		}
		_, err := c.members.Update(ctx, member, metav1.UpdateOptions{})
		if err == nil {
			return string(member.GetUID()), nil
		}
		// Somebody else has it, or it is gone: another one.
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
}
