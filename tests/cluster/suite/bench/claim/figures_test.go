package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

func TestAnAnswerHasToBeWarmAndWhole(t *testing.T) {
	one := `{"status":{"sandbox":{"name":"a","uid":"1","launchType":"Warm"}}}`
	two := `{"status":{"sandbox":{"uid":"1","launchType":"Warm"},"sandboxes":[{"uid":"1","launchType":"Warm"},{"uid":"2","launchType":"Warm"}]}}`
	for _, c := range []struct {
		answer   string
		replicas int
		want     string
	}{
		{one, 1, "[1]"}, {two, 2, "[1 2]"}, {one, 2, "[]"}, {`{"status":{}}`, 1, "[]"},
		{strings.Replace(one, "Warm", "Cold", 1), 1, "[]"}, {strings.Replace(one, `"1"`, `""`, 1), 1, "[]"}, {"x", 1, "[]"},
	} {
		got, err := bound([]byte(c.answer), c.replicas)
		if fmt.Sprint(got) != c.want || (err == nil) != (c.want != "[]") {
			t.Errorf("%s of %d: %v %v, want %s", c.answer, c.replicas, got, err, c.want)
		}
	}
}

func TestProcessesAndPIDsAreParsed(t *testing.T) {
	found, err := parsePIDs("sandbox-apiserver=1,sandbox-etcd=2,kube-apiserver=3,etcd=4,kubelet=5")
	if err != nil || found["kubelet"].PID != 5 || found[serverName].PID != 1 {
		t.Errorf("%v %v", found, err)
	}
	for _, broken := range []string{"", "sandbox-apiserver=x", "sandbox-apiserver=1"} {
		if _, err := parsePIDs(broken); err == nil {
			t.Errorf("%q was parsed", broken)
		}
	}
	if got := pidIn("[   0.1s] sandbox-apiserver: up, pid 42\n"); got != 42 {
		t.Errorf("pid %d", got)
	}
	if got := pidIn("[   0.1s] sandbox-apiserver: down\n"); got != 0 {
		t.Errorf("pid %d", got)
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	refused := func(code int, reason string) error {
		return &wire.Refused{Code: code, Text: fmt.Sprintf(`POST /x: %d {"kind":"Status","reason":%q}`, code, reason)}
	}
	for _, c := range []struct {
		err   error
		cause string
		away  bool
	}{
		{refused(503, "ServiceUnavailable"), "ServiceUnavailable", true},
		{refused(503, exhausted), exhausted, false},
		{refused(422, "Invalid"), "Invalid", false},
		{&wire.Refused{Code: 503, Text: "POST /x: 503 error trying to reach service"}, "503", true},
		{errors.New("connection reset"), "*errors.errorString", true},
	} {
		if got := cause(c.err); got != c.cause || isAway(c.err) != c.away {
			t.Errorf("%v: %s, away %v", c.err, got, isAway(c.err))
		}
	}
}

func TestTheGapIsThatOfTheEvent(t *testing.T) {
	seconds := func(all ...int) []time.Duration {
		var times []time.Duration
		for _, one := range all {
			times = append(times, time.Duration(one)*time.Second)
		}
		return times
	}
	// A gap of 20 s long before, and one of 30 s long after.
	answers := seconds(1, 21, 99, 100, 104, 105, 134, 170, 200)
	if got := gapAround(answers, 100*time.Second); got != 29*time.Second {
		t.Errorf("gap %v", got)
	}
	if got := gapAround(seconds(99, 100, 104, 105, 106), 101*time.Second); got != 4*time.Second {
		t.Errorf("gap %v", got)
	}
}

func TestMembersAreCountedByRevision(t *testing.T) {
	m := &membership{pools: map[string]string{}, members: map[string]int{}, most: map[string]int{}}
	owned := func(kind string) []byte {
		return fmt.Appendf(nil, `{"metadata":{"ownerReferences":[{"kind":%q,"name":"p"}]}}`, kind)
	}
	event := func(key, kind string, revision int64) *clientv3.Event {
		kv := &mvccpb.KeyValue{Key: []byte(key), Value: owned(kind), ModRevision: revision}
		if kind == "" {
			return &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: kv}
		}
		return &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv}
	}
	m.apply(clientv3.WatchResponse{Events: []*clientv3.Event{
		event("a", "SandboxWarmPool", 1), event("b", "SandboxWarmPool", 1),
		// One is made as the other is claimed.
		event("c", "SandboxWarmPool", 2), event("a", "SandboxClaim", 2),
		event("b", "", 3),
	}})
	if m.over() != 2 || m.members["p"] != 1 {
		t.Errorf("at most %d, now %d", m.over(), m.members["p"])
	}
}
