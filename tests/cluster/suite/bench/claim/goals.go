package main

import (
	"fmt"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// goals of what was measured, in both modes: refill was not part of them.
func goals(cells []*cell) []figures.Goal {
	var all []figures.Goal
	for _, c := range cells {
		for _, subject := range []subject{aggregated, directly} {
			if s := c.samples[subject]; s != nil {
				for _, g := range goalsOf(c.load, subject, s) {
					g.What = fmt.Sprintf("%s, %s: %s", c.title(), subject, g.What)
					all = append(all, g)
				}
			}
		}
	}
	return all
}

// goalsOf a load by its shape, so that a quick run has them too.
func goalsOf(l load, of subject, s *sample) []figures.Goal {
	through := of == aggregated
	var found []figures.Goal
	switch l.name {
	case "serial":
		if through {
			found = []figures.Goal{{What: "p50 ms", Got: s.p50, Limit: 5}, {What: "p99 ms", Got: s.p99, Limit: 15}}
		} else {
			found = []figures.Goal{{What: "p50 ms", Got: s.p50, Limit: 2.5}}
		}
		// Together with others, fewer transactions are needed.
		claims := float64(s.writes.claims)
		found = append(found,
			figures.Goal{What: "transactions a claim", Got: figures.Ratio(float64(s.writes.transactions), claims), Limit: 1},
			figures.Goal{What: "puts a claim", Got: figures.Ratio(float64(s.writes.puts), claims), Limit: 2})
	case "100/s":
		if through {
			found = []figures.Goal{{What: "p99 ms", Got: s.p99, Limit: 25}}
		}
	case "burst of 300":
		limit := 200.0
		if through {
			limit = 600
		}
		found = []figures.Goal{{What: "all bound ms", Got: s.all, Limit: limit}}
	case "gang of 100":
		if through {
			found = []figures.Goal{{What: "max ms", Got: s.most, Limit: 60}}
		}
	case "as many as 64 can":
		if !through {
			found = []figures.Goal{{What: "claims/s", Got: s.rate, Limit: 1000, AtLeast: true}}
		}
	}
	if len(found) > 0 {
		found = append(found, figures.Goal{What: "errors", Got: float64(s.errors), Limit: 0})
	}
	return found
}
