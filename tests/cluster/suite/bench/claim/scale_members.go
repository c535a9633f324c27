package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// membership of pools as a watch on our etcd tells: how many there were at most, at any revision.
type membership struct {
	mutex   sync.Mutex
	pools   map[string]string
	members map[string]int
	most    map[string]int
	failure error
}

// watchMembers from now on until the end.
func watchMembers(ctx context.Context, client *clientv3.Client, namespace string) (*membership, error) {
	m := &membership{pools: map[string]string{}, members: map[string]int{}, most: map[string]int{}}
	prefix := "/registry/" + cluster.Group + "/sandboxes/" + namespace + "/"
	events := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	ready := make(chan struct{})
	go func() {
		for answer := range events {
			if answer.Created {
				close(ready)
				continue
			}
			m.apply(answer)
		}
	}()
	select {
	case <-ready:
		return m, nil
	case <-time.After(10 * time.Second):
		return nil, errors.New("no watch on our etcd")
	}
}

// apply the events of whole revisions: one transaction may replace several.
func (m *membership) apply(answer clientv3.WatchResponse) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if err := answer.Err(); err != nil {
		m.failure = err
		return
	}
	for i, event := range answer.Events {
		key := string(event.Kv.Key)
		if before := m.pools[key]; before != "" {
			m.members[before]--
			delete(m.pools, key)
		}
		if event.Type == clientv3.EventTypePut {
			if pool := poolOf(event.Kv.Value); pool != "" {
				m.pools[key] = pool
				m.members[pool]++
			}
		}
		if i+1 < len(answer.Events) && answer.Events[i+1].Kv.ModRevision == event.Kv.ModRevision {
			continue
		}
		for pool, count := range m.members {
			m.most[pool] = max(m.most[pool], count)
		}
	}
}

// poolOf a stored Sandbox; a claim's has none.
func poolOf(value []byte) string {
	// Decoding costs more than looking for the word.
	if !bytes.Contains(value, []byte("SandboxWarmPool")) {
		return ""
	}
	var sandbox struct {
		Metadata struct {
			OwnerReferences []struct{ Kind, Name string }
		}
	}
	if json.Unmarshal(value, &sandbox) != nil {
		return ""
	}
	for _, owner := range sandbox.Metadata.OwnerReferences {
		if owner.Kind == "SandboxWarmPool" {
			return owner.Name
		}
	}
	return ""
}

func (m *membership) err() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.failure
}

// over says how many members the fullest pool had, at most.
func (m *membership) over() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	most := 0
	for _, count := range m.most {
		most = max(most, count)
	}
	return most
}
