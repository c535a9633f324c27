// Command exec measures the streams of a Sandbox beside those of its Pod: how long a command takes, how many bytes pass,
// and what a session costs the server. `cargo xtask bench exec` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// sizes of what is done.
type sizes struct {
	rounds      int
	blocks      int
	repetitions int
	sessions    int
}

var (
	full  = sizes{rounds: 200, blocks: 64, repetitions: 3, sessions: 200}
	quick = sizes{rounds: 20, blocks: 4, repetitions: 3, sessions: 50}

	parts = []string{"latency", "throughput", "memory"}
)

// However slow the machine is.
const limit = 12 * time.Minute

func main() {
	short := flag.Bool("quick", false, "little of everything: to see that it works")
	only := flag.String("only", "", fmt.Sprintf("one of %v", parts))
	flag.Parse()
	size := full
	if *short {
		size = quick
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, limit)
	err := run(ctx, size, *only)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, size sizes, only string) (err error) {
	if only != "" && !slices.Contains(parts, only) {
		return fmt.Errorf("no part %q: one of %v", only, parts)
	}
	b, err := prepare(ctx, size)
	if err != nil {
		return err
	}
	defer func() {
		// Even after an interrupt.
		err = errors.Join(err, b.remove(context.Background()))
	}()
	conditions, err := figures.Describe(ctx, b.env, b.core,
		figures.Condition{Name: "clients", Value: "client-go, exec by WebSocket, port-forward by SPDY, in the cluster's network namespace"},
		figures.Condition{Name: "Pod", Value: cluster.Image + ", all paths lead to the same one"},
		figures.Condition{Name: "commit", Value: commit()})
	if err != nil {
		return err
	}
	if err := b.box(ctx); err != nil {
		return err
	}
	fmt.Print(conditions)
	for _, part := range parts {
		if only != "" && only != part {
			continue
		}
		measure := map[string]func(context.Context) error{
			"latency": b.latency, "throughput": b.throughput, "memory": b.memory,
		}[part]
		if err := measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	figures.ReportGoals(os.Stdout, b.goals)
	return nil
}
