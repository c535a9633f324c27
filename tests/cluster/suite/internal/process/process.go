// Package process starts and measures processes, and waits for what they bring about.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A tick of /proc/PID/stat: USER_HZ is 100 wherever Go runs on Linux.
const tick = 10 * time.Millisecond

// Process under measurement: one of ours, or one that was running already.
type Process struct {
	PID  int
	ends func()
}

// Start a program whose output goes to a file; it dies with this process, whatever happens.
func Start(log, program string, args ...string) (Process, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return Process{}, err
	}
	output, err := os.Create(log)
	if err != nil {
		return Process{}, err
	}
	defer output.Close()
	command := exec.Command(program, args...)
	command.Stdout, command.Stderr = output, output
	// In a group of its own: an interrupt of the terminal is for this process, which stops its own in order.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := command.Start(); err != nil {
		return Process{}, fmt.Errorf("start %s: %w", program, err)
	}
	ended := make(chan struct{})
	go func() {
		// How it ends says nothing: it is told to.
		_ = command.Wait()
		close(ended)
	}()
	ends := func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = command.Process.Kill()
			<-ended
		}
	}
	return Process{PID: command.Process.Pid, ends: ends}, nil
}

func (p Process) Stop() {
	if p.ends != nil {
		p.ends()
	}
}

// CPU that the process has used, in user and kernel.
func (p Process) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return 0, err
	}
	return parseCPU(string(text))
}

// parseCPU adds utime and stime, fields 14 and 15.
func parseCPU(stat string) (time.Duration, error) {
	// The command name, in parentheses, may hold spaces and parentheses of its own.
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("no command name in stat")
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("only %d fields in stat", len(fields))
	}
	return sum(fields[11:13])
}

// sum of ticks.
func sum(fields []string) (time.Duration, error) {
	var ticks int64
	for _, field := range fields {
		value, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += value
	}
	return time.Duration(ticks) * tick, nil
}

// MachineCPU is what all cores have spent since the start, on whatever but waiting.
func MachineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachineCPU(string(text))
}

// parseMachineCPU adds user, nice, system, irq and softirq of the first line: fields 1 to 3, 6 and 7 of proc(5), which
// has idle and iowait between them, and behind them what others took.
func parseMachineCPU(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("no CPU in %q", line)
	}
	return sum(slices.Concat(fields[1:4], fields[6:8]))
}

// Memory in KiB: the peak of the process's life, and now.
func (p Process) Memory() (peak, resident int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return 0, 0, err
	}
	if peak, err = parseKiB(string(text), "VmHWM"); err != nil {
		return 0, 0, err
	}
	resident, err = parseKiB(string(text), "VmRSS")
	return peak, resident, err
}

func parseKiB(status, name string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, found := strings.CutPrefix(line, name+":"); found {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s in status", name)
}

// Await a condition that another process brings about.
func Await(ctx context.Context, what string, limit time.Duration, probe func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no %s after %v: %w", what, limit, err)
		case <-ticker.C:
		}
	}
}
