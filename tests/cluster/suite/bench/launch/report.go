package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

func (b *bench) report(out io.Writer, rounds int) {
	fmt.Fprintf(out, "\n%d launches one after another on one node: a bare Pod, then a Sandbox with the same Pod spec, alternating.\n", rounds)
	fmt.Fprintf(out, "Times from the request to the watch event that tells of its end, milliseconds.\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tp50\tp99\tmin\tmax\tp50 over the bare Pod\t")
	row := func(name string, times []time.Duration, over bool) {
		added := ""
		if over {
			added = fmt.Sprintf("%+.1f", figures.Milliseconds(figures.Quantile(times, 0.5)-figures.Quantile(b.pods, 0.5)))
		}
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t%s\t\n", name,
			figures.Milliseconds(figures.Quantile(times, 0.5)), figures.Milliseconds(figures.Quantile(times, 0.99)),
			figures.Milliseconds(slices.Min(times)), figures.Milliseconds(slices.Max(times)), added)
	}
	row("bare Pod, create to Ready", b.pods, false)
	row("Sandbox, create to Ready", b.sandboxes, true)
	row("Sandbox, resume to Ready", b.resumes, true)
	row("Sandbox, suspend to Suspended", b.suspends, false)
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()

	fmt.Fprintf(out, "\nWrites per step, mean: everybody's in the cluster's etcd, all in ours. Events are the kubelet's and the scheduler's.\n\n")
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tPod\tService\tPersistentVolumeClaim\tEvent\tours: Sandbox\t")
	writes := func(name string, counted counts) {
		fmt.Fprintf(table, "%s\t", name)
		for _, kind := range []string{"Pod", "Service", "PersistentVolumeClaim", "Event", "Sandbox"} {
			fmt.Fprintf(table, "%.2f\t", float64(counted[kind])/float64(rounds))
		}
		fmt.Fprintln(table)
	}
	writes("bare Pod, create to Ready", b.podWrites.launch)
	writes("Sandbox, create to Ready", b.sandboxWrites.launch)
	writes("Sandbox, resume to Ready", b.sandboxWrites.resume)
	writes("Sandbox, suspend to Suspended", b.sandboxWrites.suspend)
	_ = table.Flush()
	// The bare Pod's first write is its client's create; in a Sandbox's launch that one is ours.
	more := float64(b.sandboxWrites.launch["Pod"]-b.podWrites.launch["Pod"]) / float64(rounds)
	fmt.Fprintf(out, "\nOurs in the cluster's etcd per launch: 1 Pod create and %+.2f writes over the bare Pod's.\n", more)
}
