package suite

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// etcdClient of our server's etcd, for what no API can bring about.
func etcdClient(t *testing.T) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{env.SandboxEtcd}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// revisionNow as a list tells it.
func revisionNow(t *testing.T, ns string) int64 {
	t.Helper()
	list, err := sandboxes(ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	revision, err := strconv.ParseInt(list.GetResourceVersion(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// compact forgets everything before the revision, for every client: in the store, and in the server's
// memory, which a restart empties.
func compact(t *testing.T, revision int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := etcdClient(t).Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatalf("compact at %d: %v", revision, err)
	}
	xtask(t, "service", "restart", ourServer)
	eventually(t, "our server", patience, func() (bool, string) {
		_, err := sandboxes(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, show(err)
	})
}

func paged(t *testing.T, ns string, count int) []string {
	t.Helper()
	var names []string
	for i := range count {
		name := fmt.Sprintf("page-%02d", i)
		createSandbox(t, ns, name, cluster.Suspended)
		names = append(names, name)
	}
	// Nothing may be written any more by the loop.
	for _, name := range names {
		waitSuspended(t, ns, name)
	}
	return names
}

func TestPagerSeesOneRevision(t *testing.T) {
	calm(t)
	ns := namespace(t)
	want := paged(t, ns, 10)
	pages := 0
	chunks := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		pages++
		if pages == 2 {
			// Between two pages; none of it may be seen.
			createSandbox(t, ns, "page-99", cluster.Suspended)
			kubectl(t, "delete", "sandbox", "page-07", "-n", ns)
		}
		return sandboxes(ns).List(ctx, options)
	})
	chunks.PageSize = 3
	// One after the other, so that the write falls where it should.
	chunks.PageBufferSize = 0
	got := everyItem(t, chunks)
	if !slices.Equal(got, want) || pages != 4 {
		t.Errorf("%d pages: %v, want %v", pages, got, want)
	}
}

func everyItem(t *testing.T, chunks *pager.ListPager) []string {
	t.Helper()
	var names []string
	err := chunks.EachListItem(context.Background(), metav1.ListOptions{}, func(item runtime.Object) error {
		accessor, err := meta.Accessor(item)
		if err == nil {
			names = append(names, accessor.GetName())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A token whose revision is compacted: 410, with a token to go on inconsistently; client-go starts over with all at once.
func TestPagerSurvivesACompaction(t *testing.T) {
	alone(t)
	ns := namespace(t)
	want := paged(t, ns, 8)
	ctx := context.Background()

	first, err := sandboxes(ns).List(ctx, metav1.ListOptions{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	createSandbox(t, ns, "page-03-new", cluster.Suspended)
	waitSuspended(t, ns, "page-03-new")
	compact(t, revisionNow(t, ns))
	want = slices.Insert(want, 4, "page-03-new")
	_, err = sandboxes(ns).List(ctx, metav1.ListOptions{Limit: 3, Continue: first.GetContinue()})
	if !apierrors.IsResourceExpired(err) {
		t.Fatalf("a page of a compacted revision: %v", err)
	}
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().ListMeta.Continue == "" || status.Status().Code != 410 {
		t.Fatalf("no token to go on with: %s", show(err))
	}
	rest, err := sandboxes(ns).List(ctx, metav1.ListOptions{Continue: status.Status().ListMeta.Continue})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range append(first.Items, rest.Items...) {
		names = append(names, item.GetName())
	}
	if !slices.Equal(names, want) {
		t.Errorf("gone on inconsistently: %v, want %v", names, want)
	}

	pages := 0
	chunks := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		if pages++; pages == 2 {
			createSandbox(t, ns, "page-04-new", cluster.Suspended)
			waitSuspended(t, ns, "page-04-new")
			compact(t, revisionNow(t, ns))
		}
		return sandboxes(ns).List(ctx, options)
	})
	chunks.PageSize, chunks.FullListIfExpired = 3, true
	list, _, err := chunks.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// A first page, one that is expired, and everything.
	if items, err := meta.ExtractList(list); err != nil || len(items) != len(want)+1 || pages != 3 {
		t.Errorf("%d items in %d requests: %v", len(items), pages, err)
	}
}
