package suite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// running kubectl that prints for as long as it lives.
type printing struct {
	sync.Mutex
	lines []string
	tail  string
}

// watchWith kubectl until the end of the test; its lines are there as they come.
func watchWith(t *testing.T, args ...string) *printing {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	command := exec.CommandContext(ctx, env.Kubectl, args...)
	command.Env = append(os.Environ(), "KUBECACHEDIR="+kcache)
	var stderr strings.Builder
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	printed := &printing{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			printed.Lock()
			printed.lines = append(printed.lines, lines.Text())
			printed.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		// It was killed.
		_ = command.Wait()
		if t.Failed() {
			t.Logf("kubectl %s: %s%s", strings.Join(args, " "), printed, stderr.String())
		}
	})
	return printed
}

func (p *printing) String() string {
	p.Lock()
	defer p.Unlock()
	return strings.Join(p.lines, "\n") + "\n"
}

// rows that begin with the name.
func (p *printing) rows(name string) int {
	p.Lock()
	defer p.Unlock()
	count := 0
	for _, line := range p.lines {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == name {
			count++
		}
	}
	return count
}

func (p *printing) waitRows(t *testing.T, name string, least int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d rows of %s", least, name), patience, func() (bool, string) {
		return p.rows(name) >= least, p.String()
	})
}

func TestKubectlWatchesInEveryForm(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "first", cluster.Suspended)
	waitSuspended(t, ns, "first")
	all := watchWith(t, "get", "sandboxes", "-n", ns, "-w")
	wide := watchWith(t, "get", "sandboxes", "-n", ns, "-o", "wide", "-w")
	only := watchWith(t, "get", "sandboxes", "-n", ns, "--watch-only", "-o", "name")
	labelled := watchWith(t, "get", "sandboxes", "-n", ns, "-l", "colour=red", "-w", "-o", "name")
	one := watchWith(t, "get", "sandboxes", "-n", ns, "--field-selector=metadata.name=third", "-w")
	events := watchWith(t, "get", "sandboxes", "-n", ns, "-w", "--output-watch-events")
	all.waitRows(t, "first", 1)
	wide.waitRows(t, "first", 1)
	events.waitRows(t, "ADDED", 1)
	// What is watched alone says nothing until something happens: make things happen until all have seen one.
	for i := 0; ; i++ {
		name := fmt.Sprintf("poke-%d", i)
		createSandbox(t, ns, name, cluster.Suspended)
		if only.rows(stored+name) > 0 {
			break
		}
		waitSuspended(t, ns, name)
		if i > 50 {
			t.Fatalf("--watch-only prints nothing: %s", only)
		}
	}
	if got := only.rows(stored + "first"); got != 0 {
		t.Errorf("--watch-only told of what was there before: %s", only)
	}
	createSandbox(t, ns, "second", cluster.Suspended)
	createSandbox(t, ns, "third", cluster.Suspended)
	for _, print := range []*printing{all, wide} {
		print.waitRows(t, "second", 1)
		print.waitRows(t, "third", 1)
	}
	one.waitRows(t, "third", 1)
	if one.rows("second") != 0 || one.rows("first") != 0 {
		t.Errorf("the field selector let others through: %s", one)
	}

	// Into the selection, changed in it, and out of it again: kubectl prints a row for each.
	patch := func(body string) {
		t.Helper()
		if _, err := sandboxes(ns).Patch(context.Background(), "second", types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	waitSuspended(t, ns, "second")
	patch(`{"metadata":{"labels":{"colour":"red"}}}`)
	labelled.waitRows(t, stored+"second", 1)
	patch(`{"metadata":{"labels":{"colour":"blue"}}}`)
	labelled.waitRows(t, stored+"second", 2)
	patch(`{"metadata":{"labels":{"colour":"red"}}}`)
	labelled.waitRows(t, stored+"second", 3)
	if got := labelled.rows(stored + "third"); got != 0 {
		t.Errorf("the label selector let others through: %s", labelled)
	}
	kubectl(t, "delete", "sandbox", "second", "-n", ns)
	labelled.waitRows(t, stored+"second", 4)
	eventually(t, "DELETED event", patience, func() (bool, string) {
		return events.rows("DELETED") > 0, events.String()
	})

	header := strings.Fields(strings.SplitN(all.String(), "\n", 2)[0])
	broad := strings.Fields(strings.SplitN(wide.String(), "\n", 2)[0])
	if len(header) < 2 || header[0] != "NAME" || len(broad) <= len(header) {
		t.Errorf("columns %v, wide %v", header, broad)
	}
	if count := all.rows("NAME"); count != 1 {
		t.Errorf("the header was printed %d times", count)
	}
}

func TestKubectlListsInChunksAndSorts(t *testing.T) {
	calm(t)
	ns := namespace(t)
	// Not in the order of their names.
	names := []string{"delta", "alpha", "echo", "charlie", "bravo"}
	for _, name := range names {
		createSandbox(t, ns, name, cluster.Suspended)
	}
	sorted := slices.Sorted(slices.Values(names))
	column := func(args ...string) []string {
		t.Helper()
		var found []string
		for line := range strings.Lines(kubectl(t, append([]string{"get", "sandboxes", "-n", ns, "--no-headers"}, args...)...)) {
			found = append(found, strings.Fields(line)[0])
		}
		return found
	}
	chunked := tryKubectl(t, "", "get", "sandboxes", "-n", ns, "--chunk-size=2", "-v=6", "--no-headers")
	if pages := strings.Count(chunked.stderr, "limit=2"); chunked.code != 0 || pages != 3 {
		t.Errorf("%d requests with a limit: %s", pages, chunked.stderr)
	}
	for _, args := range [][]string{{"--chunk-size=2"}, {"--chunk-size=0"}, {"--sort-by=.metadata.name"}} {
		if got := column(args...); !slices.Equal(got, sorted) {
			t.Errorf("%v: %v, want %v", args, got, sorted)
		}
	}
	created := column("--sort-by=.metadata.creationTimestamp", "--chunk-size=2")
	slices.Sort(created)
	if !slices.Equal(created, sorted) {
		t.Errorf("sorted by creation: %v", created)
	}
	if got := column("--field-selector=metadata.name=echo"); !slices.Equal(got, []string{"echo"}) {
		t.Errorf("by field: %v", got)
	}
	if got := column("--field-selector=metadata.name!=echo", "--chunk-size=2"); slices.Contains(got, "echo") || len(got) != 4 {
		t.Errorf("by field, negated: %v", got)
	}
	kubectl(t, "label", "sandbox", "alpha", "echo", "-n", ns, "tier=one")
	for selector, want := range map[string][]string{
		"tier":                 {"alpha", "echo"},
		"!tier":                {"bravo", "charlie", "delta"},
		"tier in (one,two)":    {"alpha", "echo"},
		"tier notin (one)":     {"bravo", "charlie", "delta"},
		"tier=one,colour!=red": {"alpha", "echo"},
	} {
		if got := column("-l", selector, "--chunk-size=2"); !slices.Equal(got, want) {
			t.Errorf("-l %q: %v, want %v", selector, got, want)
		}
	}
}
