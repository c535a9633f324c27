package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// goal is a figure and its limit.
type goal struct {
	what  string
	got   float64
	limit float64
	// The limit is the least instead of the most.
	atLeast bool
}

func (g goal) met() bool {
	if math.IsNaN(g.got) {
		return false
	}
	if g.atLeast {
		return g.got >= g.limit
	}
	return g.got <= g.limit
}

// String says by how much it was missed.
func (g goal) String() string {
	bound, verdict := "at most", "met"
	if g.atLeast {
		bound = "at least"
	}
	if !g.met() {
		verdict = fmt.Sprintf("missed, %.2f times the goal", g.got/g.limit)
	}
	return fmt.Sprintf("%s\t%.2f\t%s %.2f\t%s", g.what, g.got, bound, g.limit, verdict)
}

// goals of what was measured, in both modes: refill was not part of them.
func goals(cells []*cell) []goal {
	var all []goal
	for _, c := range cells {
		for _, subject := range []subject{aggregated, directly} {
			if s := c.samples[subject]; s != nil {
				for _, g := range goalsOf(c.load, subject, s) {
					g.what = fmt.Sprintf("%s, %s: %s", c.title(), subject, g.what)
					all = append(all, g)
				}
			}
		}
	}
	return all
}

// goalsOf a load by its shape, so that a quick run has them too.
func goalsOf(l load, of subject, s *sample) []goal {
	through := of == aggregated
	var found []goal
	switch l.name {
	case "serial":
		if through {
			found = []goal{{what: "p50 ms", got: s.p50, limit: 5}, {what: "p99 ms", got: s.p99, limit: 15}}
		} else {
			found = []goal{{what: "p50 ms", got: s.p50, limit: 2.5}}
		}
		// Together with others, fewer transactions are needed.
		claims := float64(s.writes.claims)
		found = append(found,
			goal{what: "transactions a claim", got: figures.Ratio(float64(s.writes.transactions), claims), limit: 1},
			goal{what: "puts a claim", got: figures.Ratio(float64(s.writes.puts), claims), limit: 2})
	case "100/s":
		if through {
			found = []goal{{what: "p99 ms", got: s.p99, limit: 25}}
		}
	case "burst of 300":
		limit := 200.0
		if through {
			limit = 600
		}
		found = []goal{{what: "all bound ms", got: s.all, limit: limit}}
	case "gang of 100":
		if through {
			found = []goal{{what: "max ms", got: s.most, limit: 60}}
		}
	case "as many as 64 can":
		if !through {
			found = []goal{{what: "claims/s", got: s.rate, limit: 1000, atLeast: true}}
		}
	}
	if len(found) > 0 {
		found = append(found, goal{what: "errors", got: float64(s.errors), limit: 0})
	}
	return found
}

func reportGoals(out io.Writer, goals []goal) {
	fmt.Fprintf(out, "\nGoals:\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	met := 0
	for _, goal := range goals {
		if goal.met() {
			met++
		}
		fmt.Fprintln(table, goal)
	}
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()
	fmt.Fprintf(out, "\n%d of %d goals met\n", met, len(goals))
}
