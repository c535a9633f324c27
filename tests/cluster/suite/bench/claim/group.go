package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

const groupTitle = "group commit"

// Which way our server is started, one time after the other: three of each, the second half in the other order, so that
// neither way gains from when it was its turn.
var groupTurns = []bool{true, false, false, true, true, false}

// groupCommit measured with and without: our server is started anew with the flag for each of the turns.
func (r *run) groupCommit(ctx context.Context) error {
	if !r.wants(groupTitle) {
		return nil
	}
	arguments, err := commandLine(r.processes[serverName].PID)
	if err != nil {
		return err
	}
	var loads []load
	for _, l := range r.loads() {
		if l.name == "burst of 300" || l.clients == 64 {
			loads = append(loads, l)
		}
	}
	found := make([]map[bool][]*sample, len(loads))
	for i := range loads {
		found[i] = map[bool][]*sample{}
	}
	for _, grouped := range groupTurns {
		for i, l := range loads {
			if err := r.stock.ready(ctx, l.sandboxes(), false); err != nil {
				return err
			}
			r.stock.taken += l.sandboxes()
			s, err := r.asStarted(ctx, append(arguments[:len(arguments):len(arguments)], fmt.Sprintf("--claim-group-commit=%t", grouped)),
				func() (*sample, error) { return r.sampled(ctx, l, directly, uint64(i)) })
			if err != nil {
				return err
			}
			found[i][grouped] = append(found[i][grouped], s)
		}
	}
	reportGroups(os.Stdout, loads, found)
	return nil
}

func reportGroups(out io.Writer, loads []load, found []map[bool][]*sample) {
	fmt.Fprintf(out, "\nGroup commit, directly, no refill, medians of %d runs each; times in milliseconds, CPU in microseconds per claim:\n\n", len(groupTurns)/2)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\t\tclaims\terrors\tp50\tp90\tp99\tmax\tall bound\tclaims/s\tof each run\tserver\tetcds\ttransactions\t")
	for i, l := range loads {
		name := l.name
		for _, grouped := range []bool{true, false} {
			runs := found[i][grouped]
			claims, errors := 0, 0
			var rates []string
			for _, s := range runs {
				claims, errors = claims+len(s.times), errors+s.errors
				rates = append(rates, fmt.Sprintf("%.0f", s.rate))
			}
			all := ""
			if l.burst {
				all = fmt.Sprintf("%.1f", median(runs, func(s *sample) float64 { return s.all }))
			}
			label := map[bool]string{true: "with", false: "without"}[grouped]
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.0f\t%s\t%.0f\t%.0f\t%.2f\t\n", name, label, claims, errors,
				median(runs, func(s *sample) float64 { return s.p50 }), median(runs, func(s *sample) float64 { return s.p90 }),
				median(runs, func(s *sample) float64 { return s.p99 }), median(runs, func(s *sample) float64 { return s.most }), all,
				median(runs, func(s *sample) float64 { return s.rate }), strings.Join(rates, " "),
				median(runs, func(s *sample) float64 { return s.server }), median(runs, func(s *sample) float64 { return s.etcds }),
				median(runs, func(s *sample) float64 { return float64(s.writes.transactions) / float64(max(s.writes.claims, 1)) }))
			name = ""
		}
	}
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()
}

func median(runs []*sample, of func(*sample) float64) float64 {
	values := make([]float64, len(runs))
	for i, s := range runs {
		values[i] = of(s)
	}
	return figures.Quantile(values, 0.5)
}

// asStarted does something while our server is one that was started with these arguments.
func (r *run) asStarted(ctx context.Context, arguments []string, do func() (*sample, error)) (s *sample, err error) {
	if _, err := r.service("stop"); err != nil {
		return nil, err
	}
	defer func() {
		// Even after an interrupt: the cluster shall have its server again.
		pid, start := r.service("start")
		r.replace(serverName, pid)
		err = errors.Join(err, start)
	}()
	own, err := process.Start(r.log("server"), arguments[0], arguments[1:]...)
	if err != nil {
		return nil, err
	}
	defer own.Stop()
	r.replace(serverName, own.PID)
	if err := r.awaitServer(ctx); err != nil {
		return nil, fmt.Errorf("%w (log %s)", err, r.log("server"))
	}
	return do()
}

// awaitServer until it has its stock.
func (r *run) awaitServer(ctx context.Context) error {
	c, err := wire.New(r.direct)
	if err != nil {
		return err
	}
	defer c.Close()
	err = process.Await(ctx, "ready server", time.Minute, func() error {
		_, err := c.Get(ctx, "/readyz")
		return err
	})
	if err != nil {
		return err
	}
	// It looks at everything once when it starts.
	return pause(ctx, 3*time.Second)
}

// commandLine of a process.
func commandLine(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), nil
}

// service asks xtask to stop, start or kill our server; returns the pid of the one that runs afterwards.
func (r *run) service(action string) (int, error) {
	// Not bound to a context: what is stopped has to be started again.
	text, err := exec.Command(r.env.Xtask, "service", action, serverName).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w: %s", action, serverName, err, text)
	}
	return pidIn(string(text)), nil
}

var upWithPID = regexp.MustCompile(`up, pid (\d+)`)

// pidIn what xtask says; 0 if it is down.
func pidIn(text string) int {
	found := upWithPID.FindStringSubmatch(text)
	if found == nil {
		return 0
	}
	pid, err := strconv.Atoi(found[1])
	if err != nil {
		return 0
	}
	return pid
}
