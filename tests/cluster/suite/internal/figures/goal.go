package figures

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// Goal is a figure and its limit.
type Goal struct {
	What  string
	Got   float64
	Limit float64
	// The limit is the least instead of the most.
	AtLeast bool
}

func (g Goal) met() bool {
	if math.IsNaN(g.Got) {
		return false
	}
	if g.AtLeast {
		return g.Got >= g.Limit
	}
	return g.Got <= g.Limit
}

// String says by how much it was missed.
func (g Goal) String() string {
	bound, verdict := "at most", "met"
	if g.AtLeast {
		bound = "at least"
	}
	if !g.met() {
		verdict = fmt.Sprintf("missed, %.2f times the goal", g.Got/g.Limit)
	}
	return fmt.Sprintf("%s\t%.2f\t%s %.2f\t%s", g.What, g.Got, bound, g.Limit, verdict)
}

// ReportGoals prints them, and how many are met.
func ReportGoals(out io.Writer, goals []Goal) {
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
