package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is a way in which claims come in.
type load struct {
	name    string
	clients int
	// Claims of one round, and Sandboxes of one claim.
	claims, replicas, rounds int
	// Claims a second of a Poisson process; 0 = as its kind has it.
	rate float64
	// Every claim at once.
	burst bool
}

// sandboxes that it takes.
func (l load) sandboxes() int { return l.claims * l.replicas * l.rounds }

func (r *run) loads() []load {
	return []load{
		{name: "serial", clients: 1, claims: r.scaled(200), replicas: 1, rounds: 1},
		{name: "10/s", clients: 16, claims: r.scaled(100), replicas: 1, rounds: 1, rate: 10},
		{name: "100/s", clients: 16, claims: r.scaled(1000), replicas: 1, rounds: 1, rate: 100},
		{name: "burst of 100", clients: 32, claims: r.scaled(100), replicas: 1, rounds: 2, burst: true},
		{name: "burst of 300", clients: 32, claims: r.scaled(300), replicas: 1, rounds: 2, burst: true},
		{name: "gang of 100", clients: 1, claims: 1, replicas: r.scaled(100), rounds: 3},
		{name: "as many as 64 can", clients: 64, claims: r.scaled(1600), replicas: 1, rounds: 1},
	}
}

// outcome of the claims of a load.
type outcome struct {
	times  []time.Duration
	rounds []time.Duration
	errors int
	first  error
}

// collector of the claims' outcomes.
type collector struct {
	mutex sync.Mutex
	outcome
	note func(uids []string)
}

func (c *collector) add(uids []string, took time.Duration, err error) {
	c.note(uids)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err != nil {
		c.errors++
		if c.first == nil {
			c.first = err
		}
		return
	}
	c.times = append(c.times, took)
}

// Between rounds, what follows the answers of one shall not fall into the next.
const betweenRounds = time.Second

// run the load on connections that are warm.
func (l load) run(ctx context.Context, connections []connection, note func([]string), seed uint64) (outcome, error) {
	c := collector{note: note}
	for round := range l.rounds {
		if round > 0 {
			if err := pause(ctx, betweenRounds); err != nil {
				return c.outcome, err
			}
		}
		started := time.Now()
		switch {
		case l.rate > 0:
			l.open(ctx, connections, &c, arrivals(l.claims, l.rate, seed+uint64(round)))
		case l.burst:
			l.open(ctx, connections, &c, make([]time.Duration, l.claims))
		default:
			l.closed(ctx, connections, &c)
		}
		c.rounds = append(c.rounds, time.Since(started))
		if err := ctx.Err(); err != nil {
			return c.outcome, err
		}
	}
	return c.outcome, nil
}

// open loop: a claim is sent when it is due, however long others take, and its time runs from when it was due.
func (l load) open(ctx context.Context, connections []connection, c *collector, due []time.Duration) {
	begun := time.Now()
	var all sync.WaitGroup
	for i, after := range due {
		if wait := time.Until(begun.Add(after)); wait > 0 && pause(ctx, wait) != nil {
			break
		}
		all.Go(func() {
			uids, err := connections[i%len(connections)].claim(ctx, l.replicas)
			c.add(uids, time.Since(begun.Add(after)), err)
		})
	}
	all.Wait()
}

// closed loop: every client claims again as soon as it has its answer.
func (l load) closed(ctx context.Context, connections []connection, c *collector) {
	var all sync.WaitGroup
	var next atomic.Int64
	for _, connection := range connections {
		all.Go(func() {
			for int(next.Add(1)) <= l.claims && ctx.Err() == nil {
				started := time.Now()
				uids, err := connection.claim(ctx, l.replicas)
				c.add(uids, time.Since(started), err)
			}
		})
	}
	all.Wait()
}

// arrivals of a Poisson process, since its begin; the same for the same seed.
func arrivals(count int, rate float64, seed uint64) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 0))
	at := make([]time.Duration, count)
	now := 0.0
	for i := range at {
		now += random.ExpFloat64() / rate
		at[i] = time.Duration(now * float64(time.Second))
	}
	return at
}

// took all rounds together.
func (o outcome) took() time.Duration {
	var sum time.Duration
	for _, round := range o.rounds {
		sum += round
	}
	return sum
}

// slowest round: from the first claim's send to the last one's answer.
func (o outcome) slowest() time.Duration {
	if len(o.rounds) == 0 {
		return 0
	}
	return slices.Max(o.rounds)
}
