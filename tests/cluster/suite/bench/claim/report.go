package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// report of the cells: times, then writes.
func report(out io.Writer, cells []*cell) {
	for _, refill := range []string{withoutRefill, withRefill} {
		var those []*cell
		for _, c := range cells {
			if c.refill == refill {
				those = append(those, c)
			}
		}
		if len(those) == 0 {
			continue
		}
		heading := map[string]string{
			withoutRefill: "Without refill",
			withRefill:    "With refill following (the model's members are not refilled)",
		}[refill]
		fmt.Fprintf(out, "\n%s; times in milliseconds, CPU in microseconds per claim while the load ran;\nfollowed: seconds from the last answer until every Pod showed whose it was:\n\n", heading)
		times(out, those)
		fmt.Fprintf(out, "\nWrites per claim; our etcd's ranges (a guard of a transaction is one) and what follows the answers, until %v after:\n\n", followed)
		writes(out, those)
	}
}

func times(out io.Writer, cells []*cell) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\t\tclaims\terrors\tp50\tp90\tp99\tmax\tall bound\tclaims/s\tserver\tkube-apiserver\tetcds\tfollowed\t")
	for _, c := range cells {
		name := c.load.name
		for _, subject := range subjects {
			s := c.samples[subject]
			if s == nil {
				continue
			}
			all, late := "", ""
			if subject != peer {
				late = fmt.Sprintf("%.1f", s.followed)
			}
			if c.load.burst {
				all = fmt.Sprintf("%.1f", s.all)
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t\n", name, subject,
				len(s.times), s.errors, s.p50, s.p90, s.p99, s.most, all, s.rate, s.server, s.front, s.etcds, late)
			name = ""
		}
		for _, subject := range []subject{directly, aggregated} {
			ratios(table, c, subject)
		}
	}
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()
}

func ratios(out io.Writer, c *cell, name subject) {
	mine, theirs := c.samples[name], c.samples[peer]
	if mine == nil || theirs == nil {
		return
	}
	ratio := func(a, b float64) string { return fmt.Sprintf("%.2f", figures.Ratio(a, b)) }
	all := ""
	if c.load.burst {
		all = ratio(mine.all, theirs.all)
	}
	fmt.Fprintf(out, "\t%s/%s\t\t\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\t\n", name, peer,
		ratio(mine.p50, theirs.p50), ratio(mine.p90, theirs.p90), ratio(mine.p99, theirs.p99), ratio(mine.most, theirs.most), all,
		ratio(mine.rate, theirs.rate), ratio(mine.server, theirs.server), ratio(mine.front, theirs.front), ratio(mine.etcds, theirs.etcds))
}

func writes(out io.Writer, cells []*cell) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\t\ttransactions\tputs\tin\tour etcd's ranges\tfollowing\t")
	for _, c := range cells {
		name := c.load.name
		for _, subject := range subjects {
			s := c.samples[subject]
			if s == nil {
				continue
			}
			where, reads := "ours", fmt.Sprintf("%.2f", s.reads)
			if subject == peer {
				where, reads = "the cluster's", ""
			}
			claims := float64(s.writes.claims)
			fmt.Fprintf(table, "%s\t%s\t%.2f\t%.2f\t%s\t%s\t%s\t\n", name, subject,
				figures.Ratio(float64(s.writes.transactions), claims), figures.Ratio(float64(s.writes.puts), claims), where, reads,
				following(s.writes))
			name = ""
		}
	}
	_ = table.Flush()
}

// following writes by kind, per claim.
func following(t tally) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(t.after)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", kind, figures.Ratio(float64(t.after[kind]), float64(t.claims))))
	}
	return strings.Join(parts, ", ")
}
