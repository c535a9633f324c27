package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

const frozenTitle = "frozen"

// frozen shows that an answer needs nothing of the cluster's etcd: claims go on while that process is stopped.
func (r *run) frozen(ctx context.Context) (err error) {
	if !r.wants(frozenTitle) {
		return nil
	}
	l := load{name: frozenTitle, clients: 1, claims: 20, replicas: 1, rounds: 1}
	if err := r.stock.ready(ctx, l.sandboxes(), false); err != nil {
		return err
	}
	r.stock.taken += l.sandboxes()
	connections, closeAll, err := r.connections(ctx, directly, l.clients)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := pause(ctx, followed); err != nil {
		return err
	}
	before, err := revision(ctx, r.stores.front)
	if err != nil {
		return err
	}
	etcd := r.processes[frontEtcdName].PID
	if err := syscall.Kill(etcd, syscall.SIGSTOP); err != nil {
		return err
	}
	// A cluster does without its etcd for longer than these claims take.
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	found, err := l.run(limited, connections, r.note, 0)
	cancel()
	if err := errors.Join(err, syscall.Kill(etcd, syscall.SIGCONT)); err != nil {
		return err
	}
	if found.errors > 0 {
		return found.first
	}
	if err := pause(ctx, followed); err != nil {
		return err
	}
	now, err := revision(ctx, r.stores.front)
	if err != nil {
		return err
	}
	fmt.Printf("\nWith the cluster's etcd stopped (SIGSTOP), directly: %d of %d claims answered, p50 %.2f ms, max %.2f ms;\n"+
		"it was written to %d times in the %v after it went on, by everybody.\n",
		len(found.times), l.claims, figures.Milliseconds(figures.Quantile(found.times, 0.5)),
		figures.Milliseconds(figures.Quantile(found.times, 1)), now-before, followed)
	return nil
}
