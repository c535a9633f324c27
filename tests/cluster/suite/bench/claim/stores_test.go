package main

import (
	"maps"
	"testing"
)

func TestKindOfAKey(t *testing.T) {
	for key, want := range map[string]string{
		"/registry/pods/ns/a":                              "pods",
		"/registry/sandbox.x-k8s.io/sandboxclaims/ns/a":    "sandboxclaims",
		"/registry/pods/other/a":                           "",
		"/registry/namespaces/ns":                          "",
		"compact_rev_key":                                  "",
		"/registry/peer.sandbox-apiserver.local/claims/ns": "",
	} {
		got, mine := kindOf(key, "ns")
		if got != want || mine != (want != "") {
			t.Errorf("%s: %q %v, want %q", key, got, mine, want)
		}
	}
}

func TestClaimsAreTalliedByTheirTransactions(t *testing.T) {
	const claims, sandboxes, pools = "/registry/g/sandboxclaims/ns/", "/registry/g/sandboxes/ns/", "/registry/g/sandboxwarmpools/ns/"
	got := tallyOurs([]change{
		// Two claims in one transaction, then one.
		{claims + "a", 5, true}, {sandboxes + "1", 5, false}, {claims + "b", 5, true}, {sandboxes + "2", 5, false},
		{claims + "c", 7, true}, {sandboxes + "3", 7, false},
		// What follows: a status, and a refill.
		{sandboxes + "1", 8, false}, {pools + "p", 9, false}, {sandboxes + "4", 9, true}, {claims + "a", 10, false},
		{"/registry/g/sandboxes/other/x", 11, true},
	}, "ns")
	want := map[string]int{"sandboxes": 2, "sandboxwarmpools": 1, "sandboxclaims": 1}
	if got.claims != 3 || got.transactions != 2 || got.puts != 6 || !maps.Equal(got.after, want) {
		t.Errorf("%+v", got)
	}
}

func TestTheModelIsTalliedWhole(t *testing.T) {
	const claims, members = "/registry/" + modelGroup + "/claims/ns/", "/registry/" + modelGroup + "/members/ns/"
	got := tallyModel([]change{
		{claims + "a", 5, true}, {members + "1", 6, false}, {claims + "a", 7, false}, {"/registry/pods/ns/x", 8, true},
	}, "ns")
	if got.claims != 1 || got.transactions != 3 || got.puts != 3 {
		t.Errorf("%+v", got)
	}
}

func TestCountersHaveTwoNames(t *testing.T) {
	text := "etcd_debugging_mvcc_put_total 7\netcd_mvcc_range_total 1.5e+06\netcd_debugging_mvcc_range_total 3\n"
	for name, want := range map[string]float64{"put_total": 7, "range_total": 1.5e6, "nothing": 0} {
		if got := counter(text, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
