package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"
)

type way string

const (
	direct            way = "direct"
	throughAggregator way = "aggregator"

	fanoutName = "watch fan-out"
	memoryName = "memory"
)

// cell of the report: an operation, by so many clients, on one way, for every subject.
type cell struct {
	way       way
	clients   int
	operation string
	samples   map[string]*sample
}

// title, which is also what -only matches.
func (c *cell) title() string { return fmt.Sprintf("%s/%d/%s", c.way, c.clients, c.operation) }

func (w way) config(s *subject) *rest.Config {
	if w == throughAggregator {
		return s.proxied
	}
	return s.direct
}

// cells in the order of the report.
func (r *run) cells(ctx context.Context) ([]*cell, error) {
	var done []*cell
	for _, way := range []way{direct, throughAggregator} {
		for _, clients := range []int{1, 32} {
			for _, op := range operations(r) {
				c := &cell{way: way, clients: clients, operation: op.name, samples: map[string]*sample{}}
				if !r.only.MatchString(c.title()) {
					continue
				}
				if err := r.requests(ctx, c, op); err != nil {
					return nil, fmt.Errorf("%s: %w", c.title(), err)
				}
				done = append(done, c)
			}
		}
		c := &cell{way: way, clients: watchers, operation: fanoutName, samples: map[string]*sample{}}
		if !r.only.MatchString(c.title()) {
			continue
		}
		if err := r.fanouts(ctx, c); err != nil {
			return nil, fmt.Errorf("%s: %w", c.title(), err)
		}
		done = append(done, c)
	}
	return done, nil
}

// requests in turns, so that a drift of the machine hits every subject.
func (r *run) requests(ctx context.Context, c *cell, op operation) error {
	started := time.Now()
	for round := range r.turns {
		for _, s := range r.subjects {
			if err := r.stock(ctx, s, op.namespace, op.objects); err != nil {
				return err
			}
			if c.samples[s.name] == nil {
				c.samples[s.name] = &sample{}
			}
			if err := op.turn(ctx, s, c.way.config(s), c.clients, round, c.samples[s.name]); err != nil {
				return err
			}
			if !op.makes {
				continue
			}
			if err := s.empty(ctx, op.namespace); err != nil {
				return err
			}
		}
	}
	c.finish(started)
	return nil
}

func (r *run) fanouts(ctx context.Context, c *cell) error {
	started := time.Now()
	namespace := r.namespace("few")
	for range r.turns {
		for _, s := range r.subjects {
			if err := r.stock(ctx, s, namespace, small); err != nil {
				return err
			}
			if c.samples[s.name] == nil {
				c.samples[s.name] = &sample{}
			}
			if err := fanout(ctx, s, c.way.config(s), namespace, 3*r.turn, c.samples[s.name]); err != nil {
				return err
			}
		}
	}
	c.finish(started)
	return nil
}

func (c *cell) finish(started time.Time) {
	for _, s := range c.samples {
		s.sum()
		s.times = nil
	}
	fmt.Fprintf(os.Stderr, "%s: %.1f s\n", c.title(), time.Since(started).Seconds())
}
