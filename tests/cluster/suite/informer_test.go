package suite

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const (
	writers         = 5
	writesPerWriter = 100
)

// recorder keeps what an informer was told, and complains about what may never be told.
type recorder struct {
	sync.Mutex
	revisions map[string]int64    // by name: the newest seen
	writes    map[string]struct{} // "name@revision" of everything seen
	complaint []string
	deletes   int
}

func newRecorder() *recorder {
	return &recorder{revisions: map[string]int64{}, writes: map[string]struct{}{}}
}

func (r *recorder) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { r.saw(object) },
		UpdateFunc: func(old, object any) {
			// A list after a lost watch tells again what is known: no change.
			if revisionOf(old) != revisionOf(object) {
				r.saw(object)
			}
		},
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				r.complain("a delete was missed: %s", unknown.Key)
				return
			}
			r.saw(object)
			r.Lock()
			defer r.Unlock()
			r.deletes++
		},
	}
}

func revisionOf(object any) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err.Error()
	}
	return accessor.GetResourceVersion()
}

func (r *recorder) saw(object any) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		r.complain("%v", err)
		return
	}
	revision, err := strconv.ParseInt(accessor.GetResourceVersion(), 10, 64)
	if err != nil {
		r.complain("%s: %v", accessor.GetName(), err)
		return
	}
	r.Lock()
	defer r.Unlock()
	// A name is used again after a delete: its revisions still only grow.
	if old := r.revisions[accessor.GetName()]; revision <= old {
		r.complaint = append(r.complaint, fmt.Sprintf("%s: revision %d after %d", accessor.GetName(), revision, old))
	}
	r.revisions[accessor.GetName()] = revision
	r.writes[fmt.Sprintf("%s@%d", accessor.GetName(), revision)] = struct{}{}
}

func (r *recorder) complain(format string, args ...any) {
	r.Lock()
	defer r.Unlock()
	r.complaint = append(r.complaint, fmt.Sprintf(format, args...))
}

func (r *recorder) has(write string) bool {
	r.Lock()
	defer r.Unlock()
	_, found := r.writes[write]
	return found
}

func TestInformersSeeEveryWrite(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	whole := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, ns, nil).ForResource(cluster.Sandboxes).Informer()
	metadataClient, err := metadata.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	partial := metadatainformer.NewFilteredSharedInformerFactory(metadataClient, 0, ns, nil).ForResource(cluster.Sandboxes).Informer()
	wholeSaw, partialSaw := newRecorder(), newRecorder()
	for informer, saw := range map[cache.SharedIndexInformer]*recorder{whole: wholeSaw, partial: partialSaw} {
		if _, err := informer.AddEventHandler(saw.handler()); err != nil {
			t.Fatal(err)
		}
		go informer.RunWithContext(ctx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), whole.HasSynced, partial.HasSynced) {
		t.Fatal("the informers never synced")
	}

	// Each write's revision, as its answer told it.
	acknowledged := make(chan string, writers*writesPerWriter)
	failures := make(chan error, writers)
	for writer := range writers {
		go func() { failures <- write(ctx, ns, writer, acknowledged) }()
	}
	for range writers {
		if err := <-failures; err != nil {
			t.Fatal(err)
		}
	}
	close(acknowledged)
	deletes := 0
	for write := range acknowledged {
		if strings.HasPrefix(write, "delete ") {
			deletes++
			continue
		}
		for name, saw := range map[string]*recorder{"dynamic": wholeSaw, "metadata": partialSaw} {
			eventually(t, name+" informer that saw "+write, patience, func() (bool, string) { return saw.has(write), "not seen" })
		}
	}

	// The loop writes status on its own: wait for the end of that, then compare.
	for name, informer := range map[string]cache.SharedIndexInformer{"dynamic": whole, "metadata": partial} {
		eventually(t, name+" informer that equals a list", patience, func() (bool, string) {
			list, err := sandboxes(ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, err.Error()
			}
			want := map[string]string{}
			for _, item := range list.Items {
				want[item.GetName()] = item.GetResourceVersion()
			}
			got := map[string]string{}
			for _, item := range informer.GetStore().List() {
				accessor, err := meta.Accessor(item)
				if err != nil {
					return false, err.Error()
				}
				got[accessor.GetName()] = accessor.GetResourceVersion()
			}
			return maps.Equal(got, want), fmt.Sprintf("%d objects %v, want %d %v", len(got), got, len(want), want)
		})
	}
	for name, saw := range map[string]*recorder{"dynamic": wholeSaw, "metadata": partialSaw} {
		eventually(t, name+" informer that saw every delete", patience, func() (bool, string) {
			saw.Lock()
			defer saw.Unlock()
			return saw.deletes == deletes, fmt.Sprintf("%d of %d", saw.deletes, deletes)
		})
		for _, complaint := range saw.complaint {
			t.Errorf("%s informer: %s", name, complaint)
		}
	}
}

// write makes its share of creates, updates and deletes, over names of its own.
func write(ctx context.Context, namespace string, writer int, acknowledged chan<- string) error {
	client := sandboxes(namespace)
	random := rand.New(rand.NewPCG(uint64(writer), 0))
	var alive []string
	for i := range writesPerWriter {
		name := fmt.Sprintf("w%d-%d", writer, random.IntN(20))
		var made *unstructured.Unstructured
		var err error
		switch exists := slices.Contains(alive, name); {
		case !exists:
			made, err = client.Create(ctx, cluster.Sandbox(namespace, name, cluster.Suspended), metav1.CreateOptions{})
			alive = append(alive, name)
		case random.IntN(3) == 0:
			err = client.Delete(ctx, name, metav1.DeleteOptions{})
			alive = slices.DeleteFunc(alive, func(other string) bool { return other == name })
			acknowledged <- "delete " + name
		default:
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"write":"%d-%d"}}}`, writer, i)
			made, err = client.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		}
		if err != nil {
			return fmt.Errorf("write %d of writer %d to %s: %w", i, writer, name, err)
		}
		if made != nil {
			acknowledged <- name + "@" + made.GetResourceVersion()
		}
	}
	return nil
}

func TestWatchResumesFromARevision(t *testing.T) {
	calm(t)
	ns := namespace(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	start, err := sandboxes(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		createSandbox(t, ns, fmt.Sprintf("past-%d", i), cluster.Suspended)
	}
	// The watch is cut and resumed a few times on the way.
	lister := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		seconds := int64(1)
		options.TimeoutSeconds = &seconds
		return sandboxes(ns).Watch(ctx, options)
	}}
	resumed, err := watchtools.NewRetryWatcherWithContext(ctx, start.GetResourceVersion(), lister)
	if err != nil {
		t.Fatal(err)
	}
	defer resumed.Stop()
	added := map[string]int{}
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		for i := range 5 {
			select {
			// Paced, so that some of them come while the watch is away.
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return
			}
			name := fmt.Sprintf("present-%d", i)
			if _, err := sandboxes(ns).Create(ctx, cluster.Sandbox(ns, name, cluster.Suspended), metav1.CreateOptions{}); err != nil {
				t.Errorf("create %s: %v", name, err)
			}
		}
	}()
	last := int64(0)
	for len(added) < 10 {
		select {
		case event := <-resumed.ResultChan():
			object, ok := event.Object.(*unstructured.Unstructured)
			if !ok {
				t.Fatalf("event %s %s", event.Type, show(event.Object))
			}
			revision, err := strconv.ParseInt(object.GetResourceVersion(), 10, 64)
			if err != nil || revision <= last {
				t.Errorf("%s at %s after %d: %v", object.GetName(), object.GetResourceVersion(), last, err)
			}
			last = revision
			if event.Type == watch.Added {
				added[object.GetName()]++
			}
		case <-ctx.Done():
			t.Fatalf("only %v was seen", added)
		}
	}
	// An event may come before the answer of the write that made it.
	writer.Wait()
	for name, times := range added {
		if times != 1 {
			t.Errorf("%s was added %d times", name, times)
		}
	}
}

func TestWatchFromAnImpossibleRevision(t *testing.T) {
	calm(t)
	ns := namespace(t)
	watcher, err := sandboxes(ns).Watch(context.Background(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		// Where revision 1 is already compacted, an error before the stream is as good.
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			t.Fatal(err)
		}
		return
	}
	watcher.Stop()
	_, err = sandboxes(ns).Watch(context.Background(), metav1.ListOptions{ResourceVersion: "soon"})
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		t.Errorf("a watch from \"soon\": %v", err)
	}
	_, err = sandboxes(ns).List(context.Background(), metav1.ListOptions{
		ResourceVersion: "9000000000000", ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("a list from the future: %v", err)
	}
}

func TestListsArePaged(t *testing.T) {
	calm(t)
	ns := namespace(t)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("page-%d", i)
		createSandbox(t, ns, name, cluster.Suspended)
		want = append(want, name)
	}
	var got []string
	options := metav1.ListOptions{Limit: 3}
	revision := ""
	for pages := 1; ; pages++ {
		list, err := sandboxes(ns).List(context.Background(), options)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			got = append(got, item.GetName())
		}
		if revision == "" {
			revision = list.GetResourceVersion()
			// Not in the list: all pages are of one revision.
			createSandbox(t, ns, "page-3-later", cluster.Suspended)
		}
		if list.GetResourceVersion() != revision {
			t.Errorf("page %d is of revision %s, the first of %s", pages, list.GetResourceVersion(), revision)
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
		if remaining := list.GetRemainingItemCount(); remaining == nil || *remaining != int64(7-3*pages) {
			t.Errorf("page %d: %v items remain", pages, remaining)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	bad := send(t, admin, http.MethodGet, sandboxesPath(ns)+"?limit=1&continue=nonsense", "", "")
	if _, reason := bad.status(); bad.code != http.StatusBadRequest || reason != "BadRequest" {
		t.Errorf("a broken token: %d %s", bad.code, bad.body)
	}
}
