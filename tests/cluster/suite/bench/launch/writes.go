package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// counts of writes by what was written.
type counts map[string]int

func (c *counts) add(other counts) {
	if *c == nil {
		*c = counts{}
	}
	for what, number := range other {
		(*c)[what] += number
	}
}

type writeCounts struct{ launch, suspend, resume counts }

// writes of one namespace in both etcds, by the name of the Pod or Sandbox, as watches on etcd see them:
// nobody can write past them.
type writes struct {
	clients []*clientv3.Client
	cancel  context.CancelFunc

	mutex  sync.Mutex
	byName map[string]counts
	latest map[*clientv3.Client]int64
	err    error
}

// prefixes under which a Sandbox or its Pod may be written, and how the report calls them.
func prefixes(namespace string) (inCluster, inOurs map[string]string) {
	inCluster = map[string]string{
		"/registry/pods/" + namespace + "/":                   "Pod",
		"/registry/services/specs/" + namespace + "/":         "Service",
		"/registry/persistentvolumeclaims/" + namespace + "/": "PersistentVolumeClaim",
		"/registry/events/" + namespace + "/":                 "Event",
	}
	inOurs = map[string]string{"/registry/" + cluster.Group + "/sandboxes/" + namespace + "/": "Sandbox"}
	return inCluster, inOurs
}

func countWrites(ctx context.Context, env cluster.Environment, namespace string) (*writes, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &writes{cancel: cancel, byName: map[string]counts{}, latest: map[*clientv3.Client]int64{}}
	inCluster, inOurs := prefixes(namespace)
	for endpoint, kinds := range map[string]map[string]string{env.ClusterEtcd: inCluster, env.SandboxEtcd: inOurs} {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
		if err != nil {
			return nil, err
		}
		w.clients = append(w.clients, client)
		// One watch over all of it: its progress then speaks for every prefix.
		ready := make(chan struct{})
		events := client.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		go w.follow(client, events, kinds, ready)
		select {
		case <-ready:
		case <-time.After(10 * time.Second):
			return nil, fmt.Errorf("no watch on %s", endpoint)
		}
	}
	return w, nil
}

func (w *writes) follow(client *clientv3.Client, events clientv3.WatchChan, kinds map[string]string, ready chan struct{}) {
	for answer := range events {
		w.mutex.Lock()
		if err := answer.Err(); err != nil {
			w.err = err
		}
		if answer.Created {
			close(ready)
		}
		w.latest[client] = max(w.latest[client], answer.Header.Revision)
		for _, event := range answer.Events {
			w.count(string(event.Kv.Key), kinds)
		}
		w.mutex.Unlock()
	}
}

func (w *writes) count(key string, kinds map[string]string) {
	for prefix, kind := range kinds {
		name, found := strings.CutPrefix(key, prefix)
		if !found {
			continue
		}
		// The name of an Event is that of its object, a dot and a number.
		if kind == "Event" {
			name, _, _ = strings.Cut(name, ".")
		}
		if w.byName[name] == nil {
			w.byName[name] = counts{}
		}
		w.byName[name][kind]++
	}
}

// settle waits until every write has been seen that was made up to now, and those which the kubelet and our
// loop may still owe to this step: none for half a second.
func (w *writes) settle(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	before, quiet := -1, time.Now()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		caughtUp := true
		for _, client := range w.clients {
			head, err := client.Get(ctx, "/", clientv3.WithCountOnly())
			if err != nil {
				return err
			}
			w.mutex.Lock()
			caughtUp = caughtUp && w.latest[client] >= head.Header.Revision
			w.mutex.Unlock()
		}
		total, err := w.total(name)
		if err != nil {
			return err
		}
		if total != before {
			before, quiet = total, time.Now()
		}
		if caughtUp && time.Since(quiet) > 500*time.Millisecond {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("the writes of %s do not settle: %w", name, ctx.Err())
		}
	}
}

func (w *writes) total(name string) (int, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	total := 0
	for _, number := range w.byName[name] {
		total += number
	}
	return total, w.err
}

// of hands out what was counted for a name, and starts anew.
func (w *writes) of(name string) counts {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	counted := w.byName[name]
	delete(w.byName, name)
	return counted
}

func (w *writes) close() {
	w.cancel()
	for _, client := range w.clients {
		// The process ends anyway; a connection that does not close changes no figure.
		_ = client.Close()
	}
}
