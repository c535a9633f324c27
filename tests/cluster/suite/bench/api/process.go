package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A tick of /proc/PID/stat: USER_HZ is 100 wherever Go runs on Linux.
const tick = 10 * time.Millisecond

// process under measurement: one of ours, or one that was running already.
type process struct {
	pid  int
	ends func()
}

// start a program whose output goes to a file; it dies with this process, whatever happens.
func start(log, program string, args ...string) (process, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return process{}, err
	}
	output, err := os.Create(log)
	if err != nil {
		return process{}, err
	}
	defer output.Close()
	command := exec.Command(program, args...)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return process{}, fmt.Errorf("start %s: %w", program, err)
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
	return process{pid: command.Process.Pid, ends: ends}, nil
}

func (p process) stop() {
	if p.ends != nil {
		p.ends()
	}
}

// cpu that the process has used, in user and kernel.
func (p process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
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
	var ticks int64
	for _, field := range fields[11:13] {
		value, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += value
	}
	return time.Duration(ticks) * tick, nil
}

// memory in KiB: the peak of the process's life, and now.
func (p process) memory() (peak, resident int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
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

// await a condition that another process brings about.
func await(ctx context.Context, what string, limit time.Duration, probe func() error) error {
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
