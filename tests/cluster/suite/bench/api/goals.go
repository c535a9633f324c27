package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// goal is a ratio of ours to Go's and how large it may be.
type goal struct {
	what  string
	ratio float64
	limit float64
}

func (g goal) met() bool { return !math.IsNaN(g.ratio) && g.ratio <= g.limit }

func (g goal) verdict() string {
	if g.met() {
		return "met"
	}
	return "missed"
}

// Ours over Go's. What kube-apiserver itself takes on the way is the same for both, so that no more than "not slower"
// is asked for through it.
const (
	cpuOfARequest = 1.0 / 4
	cpuOfAList    = 1.0 / 8
	cpuOfAnEvent  = 1.0 / 8
	timeOfAList   = 1.0 / 6
	memoryLimit   = 1.0 / 3
	noWorse       = 1.0
)

// goalsOf a cell, by its operation and way.
func goalsOf(c *cell) []goal {
	mine, theirs := c.samples[ours], c.samples[peer]
	if mine == nil || theirs == nil {
		return nil
	}
	title := c.title()
	ratio := func(what string, a, b, limit float64) goal {
		goal := goal{what: title + ": " + what, limit: limit, ratio: math.NaN()}
		if b > 0 {
			goal.ratio = a / b
		}
		return goal
	}
	if c.way == throughAggregator {
		return []goal{ratio("p50", mine.p50, theirs.p50, noWorse), ratio("p99", mine.p99, theirs.p99, noWorse)}
	}
	switch c.operation {
	case fanoutName:
		return []goal{
			ratio("CPU per event", mine.cpu, theirs.cpu, cpuOfAnEvent),
			ratio("p99", mine.p99, theirs.p99, noWorse),
		}
	case "get", "create", "patch":
		return []goal{ratio("CPU", mine.cpu, theirs.cpu, cpuOfARequest)}
	default:
		goals := []goal{ratio("CPU", mine.cpu, theirs.cpu, cpuOfAList)}
		if c.operation == fmt.Sprintf("list %d", large) {
			goals = append(goals, ratio("p50", mine.p50, theirs.p50, timeOfAList))
		}
		return goals
	}
}

func reportGoals(out io.Writer, goals []goal) {
	fmt.Fprintf(out, "\nGoals, ours/Go:\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	met := 0
	for _, goal := range goals {
		if goal.met() {
			met++
		}
		fmt.Fprintf(table, "%s\t%.3f\tat most %.3f\t%s\n", goal.what, goal.ratio, goal.limit, goal.verdict())
	}
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()
	fmt.Fprintf(out, "\n%d of %d goals met\n", met, len(goals))
}
