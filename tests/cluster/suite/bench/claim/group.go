package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

const groupTitle = "group commit"

// groupCommit measured with and without: our server is started anew with the flag, once as it is and once the other way.
func (r *run) groupCommit(ctx context.Context) (err error) {
	if !r.wants(groupTitle) {
		return nil
	}
	arguments, err := commandLine(r.processes[serverName].PID)
	if err != nil {
		return err
	}
	found := map[bool][]*sample{}
	var loads []load
	for _, l := range r.loads() {
		if l.name == "burst of 300" || l.clients == 64 {
			loads = append(loads, l)
		}
	}
	for _, grouped := range []bool{true, false} {
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
			found[grouped] = append(found[grouped], s)
		}
	}
	fmt.Printf("\nGroup commit, directly, no refill; times in milliseconds, CPU in microseconds per claim:\n\n")
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\t\tclaims\terrors\tp50\tp90\tp99\tmax\tall bound\tclaims/s\tserver\tetcds\ttransactions\t")
	for i, l := range loads {
		name := l.name
		for _, grouped := range []bool{true, false} {
			s := found[grouped][i]
			all := ""
			if l.burst {
				all = fmt.Sprintf("%.1f", s.all)
			}
			label := map[bool]string{true: "with", false: "without"}[grouped]
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.0f\t%.0f\t%.0f\t%.2f\t\n", name, label, len(s.times), s.errors,
				s.p50, s.p90, s.p99, s.most, all, s.rate, s.server, s.etcds, float64(s.writes.transactions)/float64(max(s.writes.claims, 1)))
			name = ""
		}
	}
	// Errors of a terminal have nowhere to go.
	return table.Flush()
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
