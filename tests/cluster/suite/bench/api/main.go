// Command api measures our machinery beside Go's: the example Flunder server of crates/apiserver, sample-apiserver, and
// the product itself, in turns. `cargo xtask bench api` runs it inside the cluster's network namespace.
package main

import (
	"context"
	"debug/buildinfo"
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
const runLimit = 15 * time.Minute

type flags struct {
	only  *regexp.Regexp
	quick bool
}

func main() {
	var chosen flags
	only := flag.String("only", "", "a regular expression: the cells to measure, as WAY/CLIENTS/OPERATION, or memory")
	flag.BoolVar(&chosen.quick, "quick", false, "one short turn per cell, and 5,000 objects for the memory")
	flag.Parse()
	var err error
	if chosen.only, err = regexp.Compile(*only); err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = measure(ctx, chosen)
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
	r, err := prepare(ctx)
	if r != nil {
		defer func() { err = errors.Join(err, r.close()) }()
	}
	if err != nil {
		return err
	}
	r.only, r.turn, r.turns, r.objects = chosen.only, 1500*time.Millisecond, 2, 50_000
	if chosen.quick {
		r.turn, r.turns, r.objects = 500*time.Millisecond, 1, 5_000
	}
	if err := r.startSubjects(ctx); err != nil {
		return err
	}
	conditions, err := figures.Describe(ctx, r.env, r.core, r.conditions()...)
	if err != nil {
		return err
	}
	fmt.Print(conditions)
	cells, err := r.cells(ctx)
	if err != nil {
		return err
	}
	report(os.Stdout, cells)
	var goals []goal
	for _, c := range cells {
		goals = append(goals, goalsOf(c)...)
	}
	if r.only.MatchString(memoryName) {
		found, err := r.measureMemory(ctx)
		if err != nil {
			return err
		}
		goals = append(goals, reportMemory(os.Stdout, r.objects, found)...)
	}
	reportGoals(os.Stdout, goals)
	fmt.Printf("\nThe run took %v.\n", time.Since(started).Round(time.Second))
	return nil
}

func (r *run) conditions() []figures.Condition {
	return []figures.Condition{
		{Name: "ours", Value: "example flunder, optimised, " + size(r.programs.flunder)},
		{Name: "Go", Value: "sample-apiserver " + version(r.programs.sampleApiserver) + ", " + size(r.programs.sampleApiserver)},
		{Name: "Sandbox", Value: "the product; suspended ones, so that no Pod starts; its loop writes each one's status and is in its figures"},
		{Name: "clients", Value: "a connection each, HTTP/2, JSON, no gzip unless said; bodies are read and discarded"},
		{Name: "user", Value: "of system:masters by a certificate, on both ways"},
		{Name: "turns", Value: fmt.Sprintf("%d per cell and server, in alternation, of %v; lists of %d twice and the fan-out three times that", r.turns, r.turn, large)},
	}
}

// version of the module that the program is of.
func version(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "of unknown version"
	}
	return info.Main.Version
}

func size(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "of unknown size"
	}
	return fmt.Sprintf("binary of %d MiB", info.Size()>>20)
}
