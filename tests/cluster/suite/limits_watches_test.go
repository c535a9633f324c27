package suite

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const (
	manyWatches  = 10_000
	watchesEach  = 500
	watchedNames = 50
	// Of every connection, so many watch the whole namespace and the others one name.
	wholeEach = 50
	// What an open watch may cost. A leak of one buffer or task per watch is above it in the second round.
	kibPerWatch = 100
)

// residentKiB of our server.
func residentKiB(t *testing.T) int64 {
	t.Helper()
	return statusKiB(t, "VmRSS")
}

func statusKiB(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + serverPID(t) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name+":"); found {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

// ownConnection makes a client that shares its connection with nobody.
func ownConnection(t *testing.T, config *rest.Config) *http.Client {
	t.Helper()
	own := rest.CopyConfig(config)
	// Clients of like configurations share connections; a dialer makes this one unlike the others.
	own.Dial = (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	client, err := rest.HTTPClientFor(own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// crowd of watches.
type crowd struct {
	cancel  context.CancelFunc
	readers sync.WaitGroup
	open    atomic.Int64
	events  atomic.Int64
	mutex   sync.Mutex
	broken  []string
}

func (c *crowd) fail(format string, args ...any) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

func (c *crowd) failures() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return fmt.Sprint(len(c.broken), " broken: ", c.broken[:min(len(c.broken), 3)])
}

func (c *crowd) leave() {
	c.cancel()
	c.readers.Wait()
}

// gather the crowd past the front: it is our server that is looked at.
func gather(t *testing.T, config *rest.Config, ns, revision string) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	gathered := &crowd{cancel: cancel}
	t.Cleanup(gathered.leave)
	for range manyWatches / watchesEach {
		client := ownConnection(t, config)
		// A few at a time: everything at once would measure the timeouts.
		turns := make(chan struct{}, 20)
		for i := range watchesEach {
			query := "?watch=1&resourceVersion=" + revision
			if i >= wholeEach {
				query += fmt.Sprintf("&fieldSelector=metadata.name%%3Dname-%02d", i%watchedNames)
			}
			turns <- struct{}{}
			gathered.readers.Go(func() {
				gathered.watch(ctx, client, config.Host+sandboxesPath(ns)+query, func() { <-turns })
			})
		}
	}
	eventually(t, "crowd of watches", 2*patience, func() (bool, string) {
		return gathered.open.Load() == manyWatches, fmt.Sprint(gathered.open.Load(), " open; ", gathered.failures())
	})
	return gathered
}

func (c *crowd) watch(ctx context.Context, client *http.Client, url string, opened func()) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		c.fail("%v", err)
		opened()
		return
	}
	request.Header.Set("Accept", asJSON)
	answer, err := client.Do(request)
	opened()
	if err != nil {
		c.fail("%v", err)
		return
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		c.fail("%s", answer.Status)
		return
	}
	c.open.Add(1)
	defer c.open.Add(-1)
	for lines := bufio.NewReaderSize(answer.Body, 4<<10); ; {
		line, err := lines.ReadSlice('\n')
		// The beginning of a line is enough, and a longer one comes in pieces.
		if bytes.HasPrefix(line, []byte(`{"type":"MODIFIED"`)) {
			c.events.Add(1)
		} else if bytes.HasPrefix(line, []byte(`{"type":"ERROR"`)) {
			c.fail("%s", line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			if ctx.Err() == nil {
				c.fail("%v", err)
			}
			return
		}
	}
}

func TestTenThousandWatchesAreHeld(t *testing.T) {
	alone(t)
	ns := namespace(t)
	config := asDirectly(t, user(t, "suite-crowd", "system:masters"))
	for i := range watchedNames {
		createSandbox(t, ns, fmt.Sprintf("name-%02d", i), cluster.Suspended)
	}
	for i := range watchedNames {
		waitSuspended(t, ns, fmt.Sprintf("name-%02d", i))
	}
	pid := serverPID(t)
	var held [2]int64
	before := residentKiB(t)
	for round := range held {
		start := residentKiB(t)
		watches := gather(t, config, ns, fmt.Sprint(revisionNow(t, ns)))
		opened := residentKiB(t)
		held[round] = opened
		t.Logf("round %d: %d MiB before, %d MiB with %d watches: %d KiB each", round, start>>10, opened>>10, manyWatches, (opened-start)/manyWatches)

		// Each event comes to whom it belongs, and to nobody else.
		const writes = 10
		patchOne(t, ns, writes)
		connections := manyWatches / watchesEach
		want := int64(writes * connections * (wholeEach + (watchesEach-wholeEach)/watchedNames))
		eventually(t, "event on every watch that it belongs to", 2*patience, func() (bool, string) {
			events := watches.events.Load()
			return events >= want, fmt.Sprintf("%d events, want %d; %s", events, want, watches.failures())
		})
		if round == 0 {
			holdFor(t, 2*time.Minute, watches)
			later := residentKiB(t)
			t.Logf("after two minutes: %d MiB", later>>10)
			if grown := later - opened; grown > manyWatches*10 {
				t.Errorf("%d KiB more after two minutes of watching", grown)
			}
		}
		if events := watches.events.Load(); events != want {
			t.Errorf("%d events, want %d: somebody was told of what it did not ask for", events, want)
		}
		if open := watches.open.Load(); open != manyWatches {
			t.Errorf("%d of %d are still open; %s", open, manyWatches, watches.failures())
		}
		watches.leave()
		// Their ends are known when the server serves others as before.
		eventually(t, "server without the crowd", patience, func() (bool, string) {
			got := send(t, config, http.MethodGet, sandboxesPath(ns), "", "")
			return got.code == http.StatusOK, got.body
		})
		t.Logf("closed: %d MiB", residentKiB(t)>>10)
	}
	if each := (held[0] - before) / manyWatches; each > kibPerWatch {
		t.Errorf("a watch takes %d KiB, want at most %d", each, kibPerWatch)
	}
	// What the first round took is used again.
	if grown := held[1] - held[0]; grown > held[0]/4 {
		t.Errorf("the second round holds %d KiB more than the first", grown)
	}
	if now := serverPID(t); now != pid {
		t.Errorf("our server was restarted: pid %s, then %s", pid, now)
	}
}

func patchOne(t *testing.T, ns string, times int) {
	t.Helper()
	for i := range times {
		body := fmt.Appendf(nil, `{"metadata":{"annotations":{"at":"%d-%d"}}}`, time.Now().UnixNano(), i)
		if _, err := sandboxes(ns).Patch(context.Background(), "name-07", types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// holdFor a while, in which nothing may break.
func holdFor(t *testing.T, long time.Duration, watches *crowd) {
	t.Helper()
	until := time.Now().Add(long)
	eventually(t, "end of the watching", long+patience, func() (bool, string) {
		if open := watches.open.Load(); open != manyWatches {
			t.Fatalf("only %d are open: %s", open, watches.failures())
		}
		return time.Now().After(until), ""
	})
}
