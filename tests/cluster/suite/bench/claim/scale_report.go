package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// The goal for claims to go on after a restart.
const gapGoal = 3 * time.Second

func (s *scale) report() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	long := time.Duration(s.r.minutes) * time.Minute
	fmt.Printf("\nClaims at %.0f/s through the aggregator for %v, round-robin over the pools, each released %v after it was bound;\n"+
		"a claim that finds no server is repeated under its name, and its time is that of all attempts.\n\n", s.r.rate, long, scaleHold)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "minute\tdue\tbound\tfailed\trepeated\tp50 ms\tp90 ms\tp99 ms\tmax ms\tleast stock\t")
	for minute := range s.r.minutes {
		s.row(table, minute)
	}
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()
	for _, name := range slices.Sorted(maps.Keys(s.failed)) {
		f := s.failed[name]
		fmt.Printf("failed as %s: %d, from second %.0f to %.0f; the first: %.300v\n", name, f.count, f.first.Seconds(), f.last.Seconds(), f.example)
	}
	var answers []time.Duration
	for _, claim := range s.claims {
		if claim.err == nil {
			answers = append(answers, claim.answered)
		}
	}
	slices.Sort(answers)
	fmt.Printf("\nHeld: %.1f claims/s bound.\n", float64(len(answers))/long.Seconds())
	// Should no answer come any more, the time until the end is a gap.
	answers = append(answers, max(long, slices.Max(append(answers, 0))))
	for _, event := range s.events {
		gap := gapAround(answers, event.at)
		verdict := "met"
		if gap > gapGoal {
			verdict = "missed"
		}
		fmt.Printf("%s after %.0f s (it took %.1f s): longest time without a bound claim %.2f s, at most %v: %s\n",
			event.what, event.at.Seconds(), (event.back - event.at).Seconds(), gap.Seconds(), gapGoal, verdict)
	}
	fmt.Printf("Members of the fullest pool, at any revision: %d of %d.\n", s.watch.over(), s.r.scaled(scaleMembers))
	fmt.Printf("Stock every 10 s (-1: not known): ")
	for _, level := range s.levels {
		fmt.Printf("%d ", level.ready)
	}
	fmt.Println()
	s.profile()
}

func (s *scale) row(table *tabwriter.Writer, minute int) {
	from, until := time.Duration(minute)*time.Minute, time.Duration(minute+1)*time.Minute
	var times []time.Duration
	due, failed, repeated := 0, 0, 0
	for _, claim := range s.claims {
		if claim.due < from || claim.due >= until {
			continue
		}
		due++
		if claim.retried {
			repeated++
		}
		if claim.err != nil {
			failed++
		} else {
			times = append(times, claim.answered-claim.due)
		}
	}
	least := -1
	for _, level := range s.levels {
		if level.at >= from && level.at < until && level.ready >= 0 && (least < 0 || level.ready < least) {
			least = level.ready
		}
	}
	ms := func(q float64) float64 { return figures.Milliseconds(figures.Quantile(times, q)) }
	fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t\n", minute+1, due, len(times), failed, repeated,
		ms(0.5), ms(0.9), ms(0.99), ms(1), least)
}

// gapAround is the longest time between two answers, of which the later came after the event and within half a minute.
func gapAround(answers []time.Duration, at time.Duration) time.Duration {
	var longest time.Duration
	for i := 1; i < len(answers); i++ {
		if answers[i] >= at && answers[i-1] <= at+30*time.Second {
			longest = max(longest, answers[i]-answers[i-1])
		}
	}
	return longest
}

// profile says who had the CPU until the first restart, in cores.
func (s *scale) profile() {
	if len(s.levels) < 2 || len(s.events) == 0 {
		return
	}
	first, last := s.levels[0], s.levels[0]
	for _, level := range s.levels {
		if level.at < s.events[0].at {
			last = level
		}
	}
	long := (last.at - first.at).Seconds()
	used := last.cpu.since(first.cpu)
	names := slices.SortedFunc(maps.Keys(used), func(a, b string) int { return int(used[b] - used[a]) })
	fmt.Printf("CPU until the first restart, in cores:")
	for _, name := range names {
		fmt.Printf(" %s %.2f", name, used[name].Seconds()/long)
	}
	fmt.Println()
}
