package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
	"sandbox-apiserver.local/cluster/suite/internal/process"
)

// subject of a measurement.
type subject string

const (
	directly   subject = "ours, directly"
	aggregated subject = "ours, aggregator"
	peer       subject = "model"
)

var subjects = []subject{directly, aggregated, peer}

const (
	withoutRefill = "no refill"
	withRefill    = "refill"
)

// cell of the report: a load, with or without refill, for every subject.
type cell struct {
	refill  string
	load    load
	samples map[subject]*sample
}

// title, which is also what -only matches.
func (c *cell) title() string { return c.refill + "/" + c.load.name }

// sample of a subject in a cell.
type sample struct {
	outcome
	p50, p90, p99, most, rate float64
	// Milliseconds from the first claim of a burst to the last answer, in the slowest round.
	all float64
	// Seconds from the last answer until every Pod showed whose it is.
	followed float64
	// Microseconds per claim, while the load ran.
	server, front, etcds float64
	writes               tally
	// Per claim, in our etcd, until what follows has happened.
	reads float64
}

// cells in the order of the report.
func (r *run) cells(ctx context.Context) ([]*cell, error) {
	r.stock = &stock{r: r, pool: "stock", size: r.stockSize()}
	r.model = &model{r: r}
	var done []*cell
	for _, refill := range []string{withoutRefill, withRefill} {
		for i, load := range r.loads() {
			c := &cell{refill, load, map[subject]*sample{}}
			if !r.wants(c.title()) {
				continue
			}
			started := time.Now()
			// In turns, so that a drift of the machine hits every subject.
			for _, s := range subjects {
				if s == peer && refill == withRefill {
					continue
				}
				found, err := r.cell(ctx, c, s, uint64(i))
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", c.title(), s, err)
				}
				c.samples[s] = found
			}
			fmt.Fprintf(os.Stderr, "%s: %.1f s\n", c.title(), time.Since(started).Seconds())
			done = append(done, c)
		}
	}
	return done, nil
}

func (r *run) cell(ctx context.Context, c *cell, s subject, seed uint64) (*sample, error) {
	count := c.load.sandboxes()
	var err error
	if s == peer {
		err = r.model.ready(ctx, count)
	} else {
		err = r.stock.ready(ctx, count, c.refill == withRefill)
		r.stock.taken += count
	}
	if err != nil {
		return nil, err
	}
	found, err := r.sampled(ctx, c.load, s, seed)
	if err != nil {
		return nil, err
	}
	if found.errors > 0 {
		fmt.Fprintf(os.Stderr, "%s, %s: %d errors, the first: %v\n", c.title(), s, found.errors, found.first)
	}
	return found, nil
}

func (r *run) connect(s subject) (connection, error) {
	switch s {
	case directly:
		return connectOurs(r.direct, r.namespace, r.stock.pool)
	case aggregated:
		return connectOurs(r.admin, r.namespace, r.stock.pool)
	default:
		return r.model.connect()
	}
}

// connections that are warm.
func (r *run) connections(ctx context.Context, s subject, count int) ([]connection, func(), error) {
	var made []connection
	closeAll := func() {
		for _, one := range made {
			one.close()
		}
	}
	for range count {
		one, err := r.connect(s)
		if err == nil {
			made = append(made, one)
			err = one.warm(ctx)
		}
		if err != nil {
			closeAll()
			return nil, nil, err
		}
	}
	return made, closeAll, nil
}

// sampled runs the load and meters it.
func (r *run) sampled(ctx context.Context, l load, s subject, seed uint64) (*sample, error) {
	connections, closeAll, err := r.connections(ctx, s, l.clients)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	// What was done to prepare has its own followers.
	if err := r.stock.labelled(ctx, s, l.sandboxes()); err != nil {
		return nil, err
	}
	if err := pause(ctx, followed); err != nil {
		return nil, err
	}
	before, err := r.stores.mark(ctx)
	if err != nil {
		return nil, err
	}
	used, err := r.cpu()
	if err != nil {
		return nil, err
	}
	outcome, err := l.run(ctx, connections, r.note, seed)
	if err != nil {
		return nil, err
	}
	now, err := r.cpu()
	if err != nil {
		return nil, err
	}
	ended := time.Now()
	if err := r.stock.labelled(ctx, s, outcome.errors*l.replicas); err != nil {
		return nil, err
	}
	late := time.Since(ended)
	if err := pause(ctx, followed); err != nil {
		return nil, err
	}
	after, err := r.stores.mark(ctx)
	if err != nil {
		return nil, err
	}
	found := &sample{outcome: outcome, followed: late.Seconds()}
	found.sum(s, now.since(used))
	return found, r.tally(ctx, s, before, after, found)
}

// tally of what both etcds were told between two marks.
func (r *run) tally(ctx context.Context, s subject, before, after mark, into *sample) error {
	front, err := changes(ctx, r.stores.front, before.front, after.front)
	if err != nil {
		return fmt.Errorf("the cluster's etcd: %w", err)
	}
	if s == peer {
		into.writes = tallyModel(front, r.namespace)
		return nil
	}
	mine, err := changes(ctx, r.stores.ours, before.ours, after.ours)
	if err != nil {
		return fmt.Errorf("our etcd: %w", err)
	}
	into.writes = tallyOurs(mine, r.namespace)
	into.reads = figures.Ratio(after.reads-before.reads, float64(len(into.times)))
	for _, one := range front {
		if kind, ok := kindOf(one.key, r.namespace); ok {
			into.writes.after[kind]++
		}
	}
	return nil
}

func (s *sample) sum(of subject, used usage) {
	ms := func(q float64) float64 { return figures.Milliseconds(figures.Quantile(s.times, q)) }
	s.p50, s.p90, s.p99, s.most = ms(0.5), ms(0.9), ms(0.99), ms(1)
	claims := float64(len(s.times))
	s.rate = figures.Ratio(claims, s.took().Seconds())
	s.all = figures.Milliseconds(s.slowest())
	per := func(names ...string) float64 {
		var sum time.Duration
		for _, name := range names {
			sum += used[name]
		}
		return figures.Ratio(float64(sum.Microseconds()), claims)
	}
	s.server, s.front = per(serverName), per(frontName)
	s.etcds = per(serverEtcdName, frontEtcdName)
	if of == peer {
		s.server = per(controllerName)
	}
}

// usage of CPU by component.
type usage map[string]time.Duration

func (r *run) cpu() (usage, error) {
	now := usage{}
	for name, one := range r.processes {
		used, err := one.CPU()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		now[name] = used
	}
	return now, nil
}

func (u usage) since(before usage) usage {
	difference := usage{}
	for name, now := range u {
		difference[name] = now - before[name]
	}
	return difference
}

// replace a process that was started anew.
func (r *run) replace(name string, pid int) { r.processes[name] = process.Process{PID: pid} }
