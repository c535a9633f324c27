package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// report of the cells, in tables of one way and number of clients each.
func report(out io.Writer, cells []*cell) {
	for len(cells) > 0 {
		first := cells[0]
		count := 0
		for count < len(cells) && cells[count].way == first.way && cells[count].clients == first.clients {
			count++
		}
		section(out, cells[:count])
		cells = cells[count:]
	}
}

func section(out io.Writer, cells []*cell) {
	first := cells[0]
	heading := map[way]string{direct: "Directly", throughAggregator: "Through the aggregator"}[first.way]
	unit, clients := "op", "clients"
	if first.clients == 1 {
		clients = "client"
	}
	if first.operation == fanoutName {
		unit, clients = "event", fmt.Sprintf("watchers, %d writes/s", writesASecond)
	}
	fmt.Fprintf(out, "\n%s, %d %s:\n\n", heading, first.clients, clients)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\t\tp50 ms\tp90 ms\tp99 ms\t%ss/s\tCPU µs/%s\tetcd µs/%s\t\n", unit, unit, unit)
	for _, c := range cells {
		name := c.operation
		for _, subject := range []string{ours, peer, product} {
			s := c.samples[subject]
			if s == nil {
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.1f\t%.1f\t\n", name, subject, s.p50, s.p90, s.p99, s.rate, s.cpu, s.etcd)
			name = ""
		}
		for _, subject := range []string{ours, product} {
			ratios(table, subject, c.samples[subject], c.samples[peer])
		}
	}
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()
}

func ratios(out io.Writer, name string, mine, theirs *sample) {
	if mine == nil || theirs == nil {
		return
	}
	fmt.Fprintf(out, "\t%s/%s\t", name, peer)
	for _, pair := range [][2]float64{
		{mine.p50, theirs.p50}, {mine.p90, theirs.p90}, {mine.p99, theirs.p99},
		{mine.rate, theirs.rate}, {mine.cpu, theirs.cpu}, {mine.etcd, theirs.etcd},
	} {
		fmt.Fprintf(out, "%.2f\t", figures.Ratio(pair[0], pair[1]))
	}
	fmt.Fprintln(out)
}

// reportMemory returns its goals too.
func reportMemory(out io.Writer, objects int, found map[string]footprint) []goal {
	fmt.Fprintf(out, "\nMemory with %d objects in a fresh process, MiB; settled is %v after a list of everything:\n\n", objects, settling)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tpeak\tsettled\t")
	for _, name := range []string{ours, peer} {
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t\n", name, found[name].peak, found[name].settled)
	}
	peak := figures.Ratio(found[ours].peak, found[peer].peak)
	settled := figures.Ratio(found[ours].settled, found[peer].settled)
	fmt.Fprintf(table, "%s/%s\t%.2f\t%.2f\t\n", ours, peer, peak, settled)
	_ = table.Flush()
	return []goal{{memoryName + ": peak", peak, memoryLimit}, {memoryName + ": settled", settled, memoryLimit}}
}
