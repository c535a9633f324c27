package main

import (
	"strings"
	"testing"
)

func cellOf(way way, operation string, mine, theirs sample) *cell {
	return &cell{way: way, clients: 1, operation: operation, samples: map[string]*sample{ours: &mine, peer: &theirs}}
}

func TestGoalsOfACell(t *testing.T) {
	theirs := sample{p50: 6, p99: 10, cpu: 80}
	for _, test := range []struct {
		cell *cell
		want string
	}{
		{cellOf(direct, "get", sample{cpu: 20}, theirs), "CPU met"},
		{cellOf(direct, "create", sample{cpu: 21}, theirs), "CPU missed"},
		{cellOf(direct, "list 100", sample{cpu: 10, p50: 100}, theirs), "CPU met"},
		{cellOf(direct, "list 5000", sample{cpu: 11, p50: 1}, theirs), "CPU missed, p50 met"},
		{cellOf(direct, fanoutName, sample{cpu: 10, p99: 11}, theirs), "CPU per event met, p99 missed"},
		{cellOf(throughAggregator, "get", sample{cpu: 800, p50: 6, p99: 10.5}, theirs), "p50 met, p99 missed"},
		{cellOf(direct, "get", sample{cpu: 0}, sample{}), "CPU missed"},
	} {
		var got []string
		for _, goal := range goalsOf(test.cell) {
			what, _ := strings.CutPrefix(goal.what, test.cell.title()+": ")
			got = append(got, what+" "+goal.verdict())
		}
		if text := strings.Join(got, ", "); text != test.want {
			t.Errorf("%s: %s, want %s", test.cell.title(), text, test.want)
		}
	}
	alone := cellOf(direct, "get", sample{}, theirs)
	delete(alone.samples, peer)
	if goals := goalsOf(alone); goals != nil {
		t.Errorf("goals without a peer: %v", goals)
	}
}

func TestGoalsAreReported(t *testing.T) {
	var out strings.Builder
	reportGoals(&out, []goal{{"a", 0.25, 0.25}, {"b", 0.3, 0.25}})
	for _, part := range []string{"a  0.250  at most 0.250  met", "b  0.300  at most 0.250  missed", "1 of 2 goals met"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in %s", part, out.String())
		}
	}
}
