package suite

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const (
	asTable   = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	asPartial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
)

// stream of a raw watch.
type stream struct {
	answer *http.Response
	lines  *bufio.Scanner
}

type frame struct {
	Type   string
	Object map[string]any
}

func open(t *testing.T, config *rest.Config, path, accept string) *stream {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, answer.Status)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 4<<20)
	return &stream{answer, lines}
}

// next frame; false at the end of the stream, which must be a clean one.
func (s *stream) next(t *testing.T) (frame, bool) {
	t.Helper()
	if !s.lines.Scan() {
		if err := s.lines.Err(); err != nil {
			t.Fatalf("the stream broke: %v", err)
		}
		return frame{}, false
	}
	var read frame
	if err := json.Unmarshal(s.lines.Bytes(), &read); err != nil {
		t.Fatalf("not a frame: %v: %.300s", err, s.lines.Text())
	}
	return read, true
}

func (s *stream) expect(t *testing.T, kind string) map[string]any {
	t.Helper()
	for {
		read, more := s.next(t)
		if !more {
			t.Fatalf("the stream ended before %s", kind)
		}
		if read.Type == kind {
			return read.Object
		}
		if read.Type != "BOOKMARK" {
			t.Fatalf("%s, want %s: %s", read.Type, kind, show(read.Object))
		}
	}
}

func TestTablesAreWatched(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "first", cluster.Suspended)
	waitSuspended(t, ns, "first")
	watch := open(t, admin, sandboxesPath(ns)+"?watch=1", asTable)
	first := watch.expect(t, "ADDED")
	if columns, _ := first["columnDefinitions"].([]any); first["kind"] != "Table" || first["apiVersion"] != "meta.k8s.io/v1" || len(columns) == 0 {
		t.Errorf("the first Table: %s", show(first))
	}
	createSandbox(t, ns, "second", cluster.Suspended)
	second := watch.expect(t, "ADDED")
	if columns, _ := second["columnDefinitions"].([]any); len(columns) != 0 {
		t.Errorf("the columns were told twice: %s", show(second))
	}
	rows, _ := second["rows"].([]any)
	if len(rows) != 1 {
		t.Fatalf("a Table of %d rows: %s", len(rows), show(second))
	}
	row := rows[0].(map[string]any)
	object, _ := row["object"].(map[string]any)
	if object["kind"] != "PartialObjectMetadata" || object["spec"] != nil {
		t.Errorf("the row's object: %s", show(object))
	}
	if cells, _ := row["cells"].([]any); len(cells) == 0 || cells[0] != "second" {
		t.Errorf("the row's cells: %s", show(row["cells"]))
	}
	if metadata, _ := object["metadata"].(map[string]any); metadata["resourceVersion"] == nil || metadata["name"] != "second" {
		t.Errorf("the row's metadata: %s", show(object))
	}
}

func TestMetadataIsWatched(t *testing.T) {
	calm(t)
	ns := namespace(t)
	made := createSandbox(t, ns, "first", cluster.Suspended)
	// With the end of the initial events, as metadata informers ask.
	query := "?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
	watch := open(t, admin, sandboxesPath(ns)+query, asPartial)
	object := watch.expect(t, "ADDED")
	metadata, _ := object["metadata"].(map[string]any)
	if object["kind"] != "PartialObjectMetadata" || object["apiVersion"] != "meta.k8s.io/v1" || object["spec"] != nil || metadata["uid"] != string(made.GetUID()) {
		t.Errorf("not metadata: %s", show(object))
	}
	for {
		read, more := watch.next(t)
		if !more {
			t.Fatal("no end of the initial events")
		}
		metadata, _ := read.Object["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		if read.Type == "BOOKMARK" && annotations["k8s.io/initial-events-end"] == "true" {
			if read.Object["kind"] != "PartialObjectMetadata" || metadata["resourceVersion"] == "" {
				t.Errorf("the bookmark: %s", show(read.Object))
			}
			break
		}
		// The loop may write in the middle of it.
		if read.Type != "MODIFIED" && read.Type != "BOOKMARK" {
			t.Fatalf("%s %s", read.Type, show(read.Object))
		}
	}
}

func TestWatchesEndInTime(t *testing.T) {
	calm(t)
	ns := namespace(t)
	for name, config := range map[string]*rest.Config{"through the front": admin, "directly": asDirectly(t, user(t, "suite-watcher", "system:masters"))} {
		started := time.Now()
		watch := open(t, config, sandboxesPath(ns)+"?watch=1&timeoutSeconds=2", asJSON)
		for {
			if _, more := watch.next(t); !more {
				break
			}
		}
		// `next` fails the test unless it was a clean end.
		if took := time.Since(started); took < time.Second || took > 30*time.Second {
			t.Errorf("%s: a watch of 2 s took %v", name, took)
		}
	}
}

func TestLargeListsAreCompressedOnRequest(t *testing.T) {
	calm(t)
	ns := namespace(t)
	filler := strings.Repeat("abcdefghij", 3000)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		sandbox := cluster.Sandbox(ns, name, cluster.Suspended)
		sandbox.SetAnnotations(map[string]string{"filler": filler})
		if _, err := sandboxes(ns).Create(context.Background(), sandbox, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	direct := asDirectly(t, user(t, "suite-reader", "system:masters"))
	for name, config := range map[string]*rest.Config{"through the front": admin, "directly": direct} {
		t.Run(name, func(t *testing.T) {
			plainConfig := rest.CopyConfig(config)
			plainConfig.DisableCompression = true
			client, err := rest.HTTPClientFor(plainConfig)
			if err != nil {
				t.Fatal(err)
			}
			ask := func(encoding string) (*http.Response, []byte) {
				t.Helper()
				request, err := http.NewRequest(http.MethodGet, config.Host+sandboxesPath(ns), nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Accept", asJSON)
				if encoding != "" {
					request.Header.Set("Accept-Encoding", encoding)
				}
				answer, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				body, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				return answer, body
			}
			plain, body := ask("")
			if plain.Header.Get("Content-Encoding") != "" || len(body) < 128<<10 {
				t.Fatalf("unasked: encoding %q, %d bytes", plain.Header.Get("Content-Encoding"), len(body))
			}
			packed, smaller := ask("gzip")
			if packed.Header.Get("Content-Encoding") != "gzip" || len(smaller) > len(body)/4 || !strings.Contains(strings.Join(packed.Header.Values("Vary"), ","), "Accept-Encoding") {
				t.Fatalf("asked for gzip: %d of %d bytes, %v", len(smaller), len(body), packed.Header)
			}
			reader, err := gzip.NewReader(strings.NewReader(string(smaller)))
			if err != nil {
				t.Fatal(err)
			}
			unpacked, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			var list struct{ Items []map[string]any }
			if err := json.Unmarshal(unpacked, &list); err != nil || len(list.Items) != 6 {
				t.Errorf("%d items: %v", len(list.Items), err)
			}
		})
	}
}

func TestPrettyListsAreIndented(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "pretty", cluster.Suspended)
	waitSuspended(t, ns, "pretty")
	for _, path := range []string{sandboxesPath(ns), sandboxPath(ns, "pretty")} {
		plain := send(t, admin, http.MethodGet, path, "", "")
		pretty := send(t, admin, http.MethodGet, path+"?pretty=true", "", "")
		if strings.Count(strings.TrimSpace(plain.body), "\n") != 0 || !strings.Contains(pretty.body, "\n  \"kind\": ") {
			t.Errorf("%s:\nplain  %.200s\npretty %.200s", path, plain.body, pretty.body)
		}
		without := func(got response) string {
			object := got.object(t)
			if object["items"] != nil {
				// A list is of now, and others write.
				delete(object, "metadata")
			}
			return show(object)
		}
		if without(plain) != without(pretty) {
			t.Errorf("%s: pretty says something else:\n%s\n%s", path, plain.body, pretty.body)
		}
	}
}
