package suite

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// listsFirst keeps a reflector from its default, the stream of initial events.
type listsFirst struct{ *cache.ListWatch }

func (listsFirst) IsWatchListSemanticsUnSupported() bool { return true }

func listWatch(client dynamic.ResourceInterface) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, options)
		},
	}
}

// Both ways in which client-go gets to know a collection, of which the newer one is its default.
var ways = map[string]struct {
	of     func(*cache.ListWatch) cache.ListerWatcher
	proven func(*requests, *testing.T)
}{
	"watch-list": {
		of:     func(plain *cache.ListWatch) cache.ListerWatcher { return plain },
		proven: (*requests).streamed,
	},
	"list and watch": {
		of:     func(plain *cache.ListWatch) cache.ListerWatcher { return listsFirst{plain} },
		proven: (*requests).listed,
	},
}

func TestReflectorsFollow(t *testing.T) {
	calm(t)
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			client, asked := recordedDynamic(t)
			createSandbox(t, ns, "before", cluster.Suspended)
			createSandbox(t, ns, "doomed", cluster.Suspended)
			store := cache.NewStore(cache.MetaNamespaceKeyFunc)
			source := way.of(listWatch(client.Resource(cluster.Sandboxes).Namespace(ns)))
			reflector := cache.NewReflectorWithOptions(source, &unstructured.Unstructured{}, store, cache.ReflectorOptions{})
			background(t, reflector.RunWithContext)
			follows(t, ns, store.List, func() string { return reflector.LastSyncResourceVersion() + "\n" + asked.String() })
			way.proven(asked, t)
		})
	}
}

func TestSharedInformersFollow(t *testing.T) {
	calm(t)
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			client, asked := recordedDynamic(t)
			createSandbox(t, ns, "before", cluster.Suspended)
			createSandbox(t, ns, "doomed", cluster.Suspended)
			source := way.of(listWatch(client.Resource(cluster.Sandboxes).Namespace(ns)))
			informer := cache.NewSharedIndexInformer(source, &unstructured.Unstructured{}, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			saw := newRecorder()
			if _, err := informer.AddEventHandler(saw.handler()); err != nil {
				t.Fatal(err)
			}
			background(t, informer.RunWithContext)
			eventually(t, "synced informer", patience, func() (bool, string) { return informer.HasSynced(), asked.String() })
			follows(t, ns, informer.GetStore().List, asked.String)
			way.proven(asked, t)
			for _, complaint := range saw.complaint {
				t.Error(complaint)
			}
		})
	}
}

// Only metadata crosses the wire, as for the garbage collector, and by the newer way.
func TestMetadataInformerFollows(t *testing.T) {
	calm(t)
	ns := namespace(t)
	config, asked := recorded(t)
	client, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	createSandbox(t, ns, "before", cluster.Suspended)
	createSandbox(t, ns, "doomed", cluster.Suspended)
	informer := metadatainformer.NewFilteredSharedInformerFactory(client, 0, ns, nil).ForResource(cluster.Sandboxes).Informer()
	background(t, informer.RunWithContext)
	follows(t, ns, informer.GetStore().List, asked.String)
	asked.streamed(t)
	for _, item := range informer.GetStore().List() {
		if partial, ok := item.(*metav1.PartialObjectMetadata); !ok || partial.UID == "" {
			t.Errorf("not metadata alone: %s", show(item))
		}
	}
}

// background runs something to the end of the test.
func background(t *testing.T, run func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// follows writes after what is there, and waits until the store is what a list is.
func follows(t *testing.T, ns string, stored func() []any, state func() string) {
	t.Helper()
	equals := func(what string) {
		t.Helper()
		eventually(t, "store that equals a list "+what, patience, func() (bool, string) {
			list, err := sandboxes(ns).List(context.Background(), metav1.ListOptions{})
			if err != nil {
				return false, err.Error()
			}
			want, got := map[string]string{}, map[string]string{}
			for _, item := range list.Items {
				want[item.GetName()] = item.GetResourceVersion()
			}
			for _, item := range stored() {
				accessor, err := meta.Accessor(item)
				if err != nil {
					return false, err.Error()
				}
				got[accessor.GetName()] = accessor.GetResourceVersion()
			}
			return show(got) == show(want), fmt.Sprintf("%s, want %s; %s", show(got), show(want), state())
		})
	}
	equals("at first")
	createSandbox(t, ns, "later", cluster.Suspended)
	label := []byte(`{"metadata":{"labels":{"colour":"red"}}}`)
	if _, err := sandboxes(ns).Patch(context.Background(), "before", types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sandboxes(ns).Delete(context.Background(), "doomed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	equals("after a create, a change and a delete")
}

// A RetryWatcher that comes back when its revision is gone says so, and does not go on as if nothing were missing.
func TestRetryWatcherIsToldOfACompaction(t *testing.T) {
	alone(t)
	ns := namespace(t)
	start := createSandbox(t, ns, "first", cluster.Suspended)
	createSandbox(t, ns, "second", cluster.Suspended)
	waitSuspended(t, ns, "second")
	compact(t, revisionNow(t, ns))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resumed, err := watchtools.NewRetryWatcherWithContext(ctx, start.GetResourceVersion(), listWatch(sandboxes(ns)))
	if err != nil {
		t.Fatal(err)
	}
	defer resumed.Stop()
	select {
	case event := <-resumed.ResultChan():
		status, ok := event.Object.(*metav1.Status)
		if event.Type != watch.Error || !ok || status.Code != 410 || status.Reason != metav1.StatusReasonExpired && status.Reason != metav1.StatusReasonGone {
			t.Errorf("event %s %s", event.Type, show(event.Object))
		}
	case <-time.After(patience):
		t.Error("nothing was told")
	}
}
