package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// heavy writes of one object: more than all buffers between server and client hold.
const (
	heavyWrites = 1000
	heavyBytes  = 180 << 10
)

func writeHeavily(t *testing.T, ns, name string) {
	t.Helper()
	var writers sync.WaitGroup
	failures := make(chan error, 4)
	for writer := range 4 {
		writers.Go(func() {
			for i := range heavyWrites / 4 {
				filler := strings.Repeat(fmt.Sprintf("%08d", i*4+writer), heavyBytes/8)
				body := fmt.Appendf(nil, `{"metadata":{"annotations":{"filler":"%s"}}}`, filler)
				if _, err := sandboxes(ns).Patch(context.Background(), name, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	writers.Wait()
	close(failures)
	for err := range failures {
		t.Fatal(err)
	}
}

// A client that stops reading costs the server a bound amount of memory, and nobody else anything.
func TestAWatcherThatNeverReadsHurtsNobody(t *testing.T) {
	alone(t)
	ns := namespace(t)
	config := asDirectly(t, user(t, "suite-sleeper", "system:masters"))
	createSandbox(t, ns, "heavy", cluster.Suspended)
	waitSuspended(t, ns, "heavy")
	revision := fmt.Sprint(revisionNow(t, ns))
	// A connection each: flow control of HTTP/2 is not to hold the others up.
	sleeper := openWatch(t, config, ns, revision)
	reader := openWatch(t, config, ns, revision)
	before := residentKiB(t)
	seen := make(chan error, 1)
	go func() { seen <- readModified(reader, heavyWrites) }()
	writeHeavily(t, ns, "heavy")
	select {
	case err := <-seen:
		if err != nil {
			t.Fatalf("the watcher that reads: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the watcher that reads has not seen every write")
	}
	// All of them are 176 MiB. The server remembers the last 64 MiB of them, and keeps 16 MiB for the
	// watcher that sleeps. What the allocator has free it gives back in its own time.
	eventually(t, "growth of at most 150 MiB", 30*time.Second, func() (bool, string) {
		after := residentKiB(t)
		state := fmt.Sprintf("%d writes of %d KiB: %d MiB before, %d MiB after", heavyWrites, heavyBytes>>10, before>>10, after>>10)
		t.Log(state)
		return after-before <= 150<<10, state
	})
	// What it reads in the end has no gap: every write, or the first ones and then an end.
	if err := readModified(sleeper, heavyWrites); err != nil && !errors.Is(err, errEnded) {
		t.Errorf("the watcher that slept: %v", err)
	} else {
		t.Logf("the watcher that slept: %v", err)
	}
}

func openWatch(t *testing.T, config *rest.Config, ns, revision string) io.Reader {
	t.Helper()
	client := ownConnection(t, config)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+sandboxesPath(ns)+"?watch=1&resourceVersion="+revision, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	return answer.Body
}

var errEnded = errors.New("ended")

// readModified events, whose revisions are those of the writes: each is one more than the one before at least, and the
// n-th tells of the n-th write, or the stream has ended.
func readModified(stream io.Reader, writes int) error {
	lines := bufio.NewReaderSize(stream, 64<<10)
	last := ""
	for seen := 0; seen < writes; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("%w after %d of %d: %w", errEnded, seen, writes, err)
		}
		var event struct {
			Type   string
			Object struct {
				Code     int
				Metadata struct{ ResourceVersion string }
			}
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("after %d: %w", seen, err)
		}
		switch event.Type {
		case "MODIFIED":
			if len(event.Object.Metadata.ResourceVersion) < len(last) || event.Object.Metadata.ResourceVersion == last {
				return fmt.Errorf("revision %s after %s", event.Object.Metadata.ResourceVersion, last)
			}
			last = event.Object.Metadata.ResourceVersion
			seen++
		case "BOOKMARK":
		case "ERROR":
			if event.Object.Code != http.StatusGone {
				return fmt.Errorf("after %d: %s", seen, line)
			}
			return fmt.Errorf("%w after %d of %d: told %d", errEnded, seen, writes, event.Object.Code)
		default:
			return fmt.Errorf("after %d: %.200s", seen, line)
		}
	}
	return nil
}

// Lists that nobody reads to the end leave nothing behind.
func TestDroppedListsLeaveNothing(t *testing.T) {
	alone(t)
	ns := namespace(t)
	config := asDirectly(t, user(t, "suite-dropper", "system:masters"))
	filler := strings.Repeat("x", 50<<10)
	const objects = 200
	var makers sync.WaitGroup
	for maker := range 4 {
		makers.Go(func() {
			for i := range objects / 4 {
				sandbox := cluster.Sandbox(ns, fmt.Sprintf("large-%d-%03d", maker, i), cluster.Suspended)
				sandbox.SetAnnotations(map[string]string{"filler": filler})
				if _, err := sandboxes(ns).Create(context.Background(), sandbox, metav1.CreateOptions{}); err != nil {
					t.Errorf("create: %v", err)
					return
				}
			}
		})
	}
	makers.Wait()
	if t.Failed() {
		return
	}
	drop := func(client *http.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+sandboxesPath(ns), nil)
		if err != nil {
			t.Error(err)
			return
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Errorf("list: %v", err)
			return
		}
		if _, err := io.ReadFull(answer.Body, make([]byte, 1000)); err != nil {
			t.Errorf("read: %v", err)
		}
		// In the middle of 10 MiB.
		_ = answer.Body.Close()
	}
	rounds := func(times int) {
		var clients sync.WaitGroup
		for range 4 {
			client := ownConnection(t, config)
			clients.Go(func() {
				for i := range times {
					drop(client)
					if i%5 == 4 {
						// Not only the stream: the whole connection.
						client.CloseIdleConnections()
					}
				}
			})
		}
		clients.Wait()
	}
	// The first ones give the allocator its size.
	rounds(5)
	before := residentKiB(t)
	rounds(15)
	after := residentKiB(t)
	t.Logf("60 lists of 10 MiB dropped: %d MiB before, %d MiB after", before>>10, after>>10)
	if grown := after - before; grown > 64<<10 {
		t.Errorf("the server took %d MiB more", grown>>10)
	}
	got := send(t, config, http.MethodGet, sandboxesPath(ns)+"?limit=1", "", "")
	if got.code != http.StatusOK {
		t.Errorf("after all: %d %.300s", got.code, got.body)
	}
}

func TestSelectorsOfTenKilobytes(t *testing.T) {
	calm(t)
	ns := namespace(t)
	for _, colour := range []string{"value-0000", "value-0900", "other"} {
		sandbox := cluster.Sandbox(ns, "is-"+colour, cluster.Suspended)
		sandbox.SetLabels(map[string]string{"colour": colour})
		if _, err := sandboxes(ns).Create(context.Background(), sandbox, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	values := make([]string, 1000)
	for i := range values {
		values[i] = fmt.Sprintf("value-%04d", i)
	}
	set := "colour in (" + strings.Join(values, ",") + ")"
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("absent-%04d!=x", i))
	}
	broken := strings.Repeat("(", 10<<10)
	for name, config := range map[string]*rest.Config{"front": admin, "direct": asDirectly(t, user(t, "suite-selector", "system:masters"))} {
		for selector, want := range map[string]int{set: 2, "colour notin (" + strings.Join(values, ",") + ")": 1, strings.Join(many, ","): 3} {
			query := "?labelSelector=" + url.QueryEscape(selector)
			got := send(t, config, http.MethodGet, sandboxesPath(ns)+query, "", "")
			items, _ := got.object(t)["items"].([]any)
			if got.code != http.StatusOK || len(items) != want {
				t.Errorf("%s, %.30s: %d, %d items: %.300s", name, selector, got.code, len(items), got.body)
			}
			watch := open(t, config, sandboxesPath(ns)+query+"&watch=1&timeoutSeconds=2", asJSON)
			names := map[string]bool{}
			for {
				read, more := watch.next(t)
				if !more {
					break
				}
				if metadata, _ := read.Object["metadata"].(map[string]any); read.Type == "ADDED" {
					names[metadata["name"].(string)] = true
				}
			}
			if len(names) != want {
				t.Errorf("%s, %.30s: the watch told of %v", name, selector, names)
			}
		}
		for _, selector := range []string{broken, strings.Repeat("a", 10<<10), "a in (" + strings.Repeat("x", 10<<10) + ")"} {
			got := send(t, config, http.MethodGet, sandboxesPath(ns)+"?labelSelector="+url.QueryEscape(selector), "", "")
			if _, reason := got.status(); got.code != http.StatusBadRequest || reason != "BadRequest" {
				t.Errorf("%s, %.20s: %d %.300s", name, selector, got.code, got.body)
			}
		}
	}
}
