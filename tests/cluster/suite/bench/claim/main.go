// Command claim measures claims of ready Sandboxes beside our model of a CRD with a controller, in the same run, and
// claims at scale with refill and restarts. `cargo xtask bench claim` runs it inside the cluster's network namespace.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// A run that takes longer is broken.
const runLimit = 40 * time.Minute

type flags struct {
	pattern  string
	only     *regexp.Regexp
	quick    bool
	durable  bool
	minutes  int
	rate     float64
	controls string
}

func main() {
	var chosen flags
	flag.StringVar(&chosen.pattern, "only", "", "a regular expression: the cells to measure, as REFILL/LOAD, group commit, real node, frozen; or scale, which runs only if asked for")
	flag.BoolVar(&chosen.quick, "quick", false, "a tenth of the claims: to try the harness")
	flag.BoolVar(&chosen.durable, "durable", false, "both etcds sync to disk; the goals are for those that don't and are not judged")
	flag.IntVar(&chosen.minutes, "minutes", 5, "how long scale lasts")
	flag.Float64Var(&chosen.rate, "rate", 100, "claims a second at scale")
	flag.StringVar(&chosen.controls, "controller", "", "be the model's controller of this namespace (the harness starts it)")
	flag.Parse()
	var err error
	if chosen.only, err = regexp.Compile(chosen.pattern); err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		if chosen.controls != "" {
			err = control(ctx, chosen.controls)
		} else {
			err = measure(ctx, chosen)
		}
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, chosen flags) (err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	started := time.Now()
	r, err := prepare(ctx, chosen)
	if r != nil {
		defer func() { err = errors.Join(err, r.close()) }()
	}
	if err != nil {
		return err
	}
	// Before there are nodes of kwok, which have nothing to say.
	conditions, err := figures.Describe(ctx, r.env, r.core, r.conditions()...)
	if err != nil {
		return err
	}
	fmt.Print(conditions)
	if err := r.startKwok(ctx); err != nil {
		return err
	}
	if r.atScale() {
		err = r.scale(ctx)
	} else {
		err = r.everything(ctx)
	}
	if err != nil {
		return err
	}
	fmt.Printf("\nThe run took %v.\n", time.Since(started).Round(time.Second))
	return nil
}

// everything but scale.
func (r *run) everything(ctx context.Context) error {
	cells, err := r.cells(ctx)
	if err != nil {
		return err
	}
	report(os.Stdout, cells)
	if err := r.frozen(ctx); err != nil {
		return fmt.Errorf("frozen: %w", err)
	}
	if err := r.groupCommit(ctx); err != nil {
		return fmt.Errorf("group commit: %w", err)
	}
	if err := r.realNode(ctx); err != nil {
		return fmt.Errorf("real node: %w", err)
	}
	// A tenth of a burst says nothing of the whole.
	if !r.durable && !r.quick {
		figures.ReportGoals(os.Stdout, goals(cells))
	}
	return r.check()
}

// atScale only if asked for: it takes as long as everything else.
func (r *run) atScale() bool { return r.pattern != "" && r.only.MatchString("scale") }

func (r *run) conditions() []figures.Condition {
	nodes := figures.Condition{Name: "nodes", Value: fmt.Sprintf("%d of kwok: no container runs, a Pod is ready as soon as it is scheduled", kwokNodes)}
	user := figures.Condition{Name: "user", Value: "of system:masters by a certificate, on both ways"}
	if r.atScale() {
		return []figures.Condition{nodes, user}
	}
	return []figures.Condition{
		nodes,
		{Name: "ours", Value: fmt.Sprintf("POST .../sandboxwarmpools/POOL/claim, onEmptyPool Fail; a pool of %d", r.stockSize())},
		{Name: "model", Value: "our model of a CRD with a controller: the client creates a claim and watches it until it is bound"},
		{Name: "controller", Value: "the model's, a process of client-go: 10 workers, no client-side limit; updates a member, then the claim's status"},
		{Name: "its members", Value: "objects without Pods, and nobody refills them, in the model's favour"},
		{Name: "clients", Value: "on connections of their own, HTTP/2, JSON; a claim counts until its answer is read, the model's until the event"},
		{Name: "no refill", Value: fmt.Sprintf("%d more members of the pool are on their way to nodes that are cordoned, as many as a pool may have", refillBlock)},
		{Name: "CPU", Value: "server is sandbox-apiserver, or the model's controller; etcds are both"},
		user,
	}
}
