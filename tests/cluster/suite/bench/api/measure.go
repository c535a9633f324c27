package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// sample of a cell: what its turns have shown of one subject.
type sample struct {
	times               []time.Duration
	took                time.Duration
	serverCPU, etcdCPU  time.Duration
	p50, p90, p99, rate float64
	// Microseconds per operation.
	cpu, etcd float64
}

// sums of the turns, once there are no more of them.
func (s *sample) sum() {
	s.p50 = figures.Milliseconds(figures.Quantile(s.times, 0.5))
	s.p90 = figures.Milliseconds(figures.Quantile(s.times, 0.9))
	s.p99 = figures.Milliseconds(figures.Quantile(s.times, 0.99))
	operations := float64(len(s.times))
	s.rate = figures.Ratio(operations, s.took.Seconds())
	s.cpu = figures.Ratio(float64(s.serverCPU.Microseconds()), operations)
	s.etcd = figures.Ratio(float64(s.etcdCPU.Microseconds()), operations)
}

// turn of one subject: every client asks again and again, until the time or the count is over.
func (op operation) turn(ctx context.Context, s *subject, config *rest.Config, clients, round int, into *sample) error {
	perClient := max(op.count/clients, 1)
	times := make([][]time.Duration, clients)
	var meter meter
	// The first request of a connection pays for its handshakes; the last to be warm starts the clock.
	warm := newBarrier(clients, func() error { return meter.begin(s) })
	err := wire.Together(ctx, config, clients, func(ctx context.Context, c *wire.Client, i int) error {
		at := position{namespace: op.namespace, client: i, number: int64(round) * 1_000_000}
		ask := func() error {
			at.number++
			return op.do(ctx, c, s, at)
		}
		if err := ask(); err != nil {
			return err
		}
		if err := warm.wait(ctx); err != nil {
			return err
		}
		for deadline := meter.started.Add(op.most); len(times[i]) < perClient; {
			started := time.Now()
			if started.After(deadline) {
				return nil
			}
			if err := ask(); err != nil {
				return err
			}
			times[i] = append(times[i], time.Since(started))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.name, op.name, err)
	}
	if err := meter.end(s, into); err != nil {
		return err
	}
	for _, own := range times {
		into.times = append(into.times, own...)
	}
	return nil
}

// meter of time and CPU.
type meter struct {
	started      time.Time
	server, etcd time.Duration
}

func (m *meter) begin(s *subject) (err error) {
	if m.server, err = s.server.CPU(); err != nil {
		return err
	}
	m.etcd, err = s.etcd.CPU()
	m.started = time.Now()
	return err
}

func (m *meter) end(s *subject, into *sample) error {
	into.took += time.Since(m.started)
	server, err := s.server.CPU()
	if err != nil {
		return err
	}
	etcd, err := s.etcd.CPU()
	if err != nil {
		return err
	}
	into.serverCPU += server - m.server
	into.etcdCPU += etcd - m.etcd
	return nil
}

// barrier lets nobody go before everybody is there; the last does something first.
type barrier struct {
	waiting chan struct{}
	open    chan struct{}
	before  func() error
	err     error
}

func newBarrier(count int, before func() error) *barrier {
	b := &barrier{waiting: make(chan struct{}, count), open: make(chan struct{}), before: before}
	for range count - 1 {
		b.waiting <- struct{}{}
	}
	return b
}

func (b *barrier) wait(ctx context.Context) error {
	select {
	case <-b.waiting:
	default:
		b.err = b.before()
		close(b.open)
	}
	select {
	case <-b.open:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
