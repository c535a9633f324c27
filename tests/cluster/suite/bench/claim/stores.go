package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// stores are both etcds. What was written is read from their history afterwards: a watch would cost the cell CPU.
type stores struct {
	ours, front *clientv3.Client
	endpoints   [2]string
}

func openStores(env cluster.Environment) (*stores, error) {
	s := &stores{endpoints: [2]string{env.SandboxEtcd, env.ClusterEtcd}}
	for i, client := range []**clientv3.Client{&s.ours, &s.front} {
		var err error
		*client, err = clientv3.New(clientv3.Config{Endpoints: []string{s.endpoints[i]}, DialTimeout: 10 * time.Second})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *stores) close() {
	// The process ends anyway; a connection that does not close changes no figure.
	_ = s.ours.Close()
	_ = s.front.Close()
}

// mark is a moment in both etcds.
type mark struct {
	ours, front   int64
	reads, writes float64
}

func (s *stores) mark(ctx context.Context) (mark, error) {
	var m mark
	var err error
	if m.ours, err = revision(ctx, s.ours); err != nil {
		return m, err
	}
	if m.front, err = revision(ctx, s.front); err != nil {
		return m, err
	}
	text, err := metrics(ctx, s.endpoints[0])
	if err != nil {
		return m, err
	}
	m.reads, m.writes = counter(text, "range_total"), counter(text, "put_total")
	return m, nil
}

func revision(ctx context.Context, client *clientv3.Client) (int64, error) {
	head, err := client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return head.Header.Revision, nil
}

func metrics(ctx context.Context, endpoint string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/metrics", nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// counter of etcd's store, under the newer or the older of its names.
func counter(text, name string) float64 {
	for _, prefix := range []string{"etcd_mvcc_", "etcd_debugging_mvcc_"} {
		for line := range strings.Lines(text) {
			if value, found := strings.CutPrefix(line, prefix+name+" "); found {
				number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				if err == nil {
					return number
				}
			}
		}
	}
	return 0
}

// change of one key.
type change struct {
	key string
	// Of the transaction that made it.
	revision int64
	creates  bool
}

// changes of a store in its history.
func changes(ctx context.Context, client *clientv3.Client, after, until int64) ([]change, error) {
	if until <= after {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var found []change
	// Every key, so that the last revision is among what comes.
	for answer := range client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(after+1)) {
		if err := answer.Err(); err != nil {
			return nil, err
		}
		for _, event := range answer.Events {
			if event.Kv.ModRevision > until {
				return found, nil
			}
			found = append(found, change{string(event.Kv.Key), event.Kv.ModRevision, event.IsCreate()})
		}
		if answer.Header.Revision >= until && len(found) > 0 && found[len(found)-1].revision >= until {
			return found, nil
		}
	}
	return nil, fmt.Errorf("the history from %d to %d did not come: %w", after, until, ctx.Err())
}

// tally of what claims have written.
type tally struct {
	claims int
	// In the transactions that made claims: of those, and their writes.
	transactions, puts int
	// All others by kind.
	after map[string]int
}

// tallyOurs: a claim and what it is bound to come into being in one transaction, and that is the answer's way.
func tallyOurs(all []change, namespace string) tally {
	const claims = "sandboxclaims"
	counted := tally{after: map[string]int{}}
	binding := map[int64]bool{}
	for _, one := range all {
		if kind, mine := kindOf(one.key, namespace); mine && kind == claims && one.creates {
			counted.claims++
			binding[one.revision] = true
		}
	}
	counted.transactions = len(binding)
	for _, one := range all {
		kind, mine := kindOf(one.key, namespace)
		switch {
		case binding[one.revision]:
			counted.puts++
		case mine:
			counted.after[kind]++
		}
	}
	return counted
}

// tallyModel: everything that is written of claims and members is on the way to the answer.
func tallyModel(all []change, namespace string) tally {
	counted := tally{after: map[string]int{}}
	revisions := map[int64]bool{}
	for _, one := range all {
		if !strings.HasPrefix(one.key, "/registry/"+modelGroup+"/") {
			continue
		}
		kind, mine := kindOf(one.key, namespace)
		if !mine {
			continue
		}
		if kind == modelClaims.Resource && one.creates {
			counted.claims++
		}
		counted.puts++
		revisions[one.revision] = true
	}
	counted.transactions = len(revisions)
	return counted
}

// kindOf what is stored under /registry/[GROUP/]KIND/NAMESPACE/NAME.
func kindOf(key, namespace string) (string, bool) {
	parts := strings.Split(key, "/")
	if len(parts) < 5 || parts[len(parts)-2] != namespace {
		return "", false
	}
	return parts[len(parts)-3], true
}
