package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

const (
	scalePools   = 20
	scaleMembers = 250
	scaleClients = 16
	// A Sandbox is used that long.
	scaleHold = 10 * time.Second
	// Between attempts at a server that is away.
	scaleRetry = 20 * time.Millisecond
	// A claim that has no answer by then has failed.
	scaleClaimLimit = 30 * time.Second
)

// scale is 5,000 ready members in 20 pools, claims at a rate with refill and release, and the server's end in between.
type scale struct {
	r       *run
	clients []*wire.Client
	begun   time.Time
	watch   *membership

	mutex  sync.Mutex
	claims []scaleClaim
	levels []scaleLevel
	events []scaleEvent
	// What has failed, claims and their deletions, by cause.
	failed map[string]*failure
}

// scaleClaim and when it was due and answered, since the begin.
type scaleClaim struct {
	due, answered time.Duration
	retried       bool
	err           error
}

// scaleLevel of the stock and the CPU at a moment.
type scaleLevel struct {
	at    time.Duration
	ready int
	cpu   usage
}

// failure of requests of one cause.
type failure struct {
	count       int
	first, last time.Duration
	example     error
}

// fail counts a failure; the caller holds the lock.
func (s *scale) fail(what string, err error) {
	at := time.Since(s.begun)
	key := what + ": " + cause(err)
	if s.failed[key] == nil {
		s.failed[key] = &failure{first: at, example: err}
	}
	s.failed[key].count++
	s.failed[key].last = at
}

// scaleEvent is something that was done to the server.
type scaleEvent struct {
	what     string
	at, back time.Duration
}

func scalePool(i int) string { return fmt.Sprintf("pool-%02d", i%scalePools) }

func (r *run) scale(ctx context.Context) error {
	s := &scale{r: r, failed: map[string]*failure{}}
	members := r.scaled(scaleMembers)
	var err error
	if s.watch, err = watchMembers(ctx, r.stores.ours, r.namespace); err != nil {
		return err
	}
	started := time.Now()
	for i := range scalePools {
		if err := r.makePool(ctx, scalePool(i), fakePod(), members); err != nil {
			return err
		}
	}
	err = process.Await(ctx, "full pools", stockLimit, func() error {
		if ready, err := s.ready(ctx); err != nil || ready < scalePools*members {
			return errors.Join(err, fmt.Errorf("%d members are ready", ready))
		}
		return nil
	})
	if err != nil {
		return err
	}
	filled := time.Since(started)
	fmt.Printf("\nScale: %d pools of %d; all %d members were ready after %.1f s, %.0f/s.\n", scalePools, members,
		scalePools*members, filled.Seconds(), float64(scalePools*members)/filled.Seconds())
	for range scaleClients {
		c, err := wire.New(r.admin)
		if err != nil {
			return err
		}
		defer c.Close()
		s.clients = append(s.clients, c)
	}
	if err := pause(ctx, 2*followed); err != nil {
		return err
	}
	if err := s.drive(ctx, time.Duration(r.minutes)*time.Minute); err != nil {
		return err
	}
	s.report()
	return errors.Join(s.watch.err(), r.check())
}

// drive the load while the server is restarted in the middle, and killed after two thirds of the rest.
func (s *scale) drive(ctx context.Context, long time.Duration) error {
	s.begun = time.Now()
	stopSampling := make(chan struct{})
	var side sync.WaitGroup
	side.Go(func() { s.sample(ctx, stopSampling) })
	var disturbance error
	side.Go(func() {
		disturbance = errors.Join(
			s.disturb(ctx, long/2, "SIGTERM and start", "stop"),
			s.disturb(ctx, long*4/5, "kill -9 and start", "kill"))
	})
	due := arrivals(int(s.r.rate*long.Seconds()), s.r.rate, 1)
	var all sync.WaitGroup
	for i, after := range due {
		if wait := time.Until(s.begun.Add(after)); wait > 0 && pause(ctx, wait) != nil {
			break
		}
		all.Go(func() { s.one(ctx, i, after) })
	}
	all.Wait()
	close(stopSampling)
	side.Wait()
	return errors.Join(disturbance, ctx.Err())
}

// disturb the server: end it, and start it at once.
func (s *scale) disturb(ctx context.Context, after time.Duration, what, end string) error {
	if err := pause(ctx, time.Until(s.begun.Add(after))); err != nil {
		return nil
	}
	event := scaleEvent{what: what, at: time.Since(s.begun)}
	_, err := s.r.service(end)
	pid, start := s.r.service("start")
	event.back = time.Since(s.begun)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.events = append(s.events, event)
	s.r.replace(serverName, pid)
	return errors.Join(err, start)
}

// one claim: repeated under its name until there is an answer, and released later.
func (s *scale) one(ctx context.Context, number int, due time.Duration) {
	name := fmt.Sprintf("claim-%06d", number)
	c := s.clients[number%len(s.clients)]
	pool := collection(s.r.namespace, "sandboxwarmpools") + "/" + scalePool(number)
	claim := scaleClaim{due: due}
	limited, cancel := context.WithTimeout(ctx, scaleClaimLimit)
	defer cancel()
	var uids []string
	for {
		claim.err = c.Do(limited, http.MethodPost, pool+"/claim", claimBody(name, 1), nil, func(body io.Reader) error {
			text, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			uids, err = bound(text, 1)
			return err
		})
		if claim.err == nil || !isAway(claim.err) || pause(limited, scaleRetry) != nil {
			break
		}
		claim.retried = true
	}
	claim.answered = time.Since(s.begun)
	s.r.note(uids)
	s.mutex.Lock()
	s.claims = append(s.claims, claim)
	if claim.err != nil {
		s.fail("claim", claim.err)
	}
	s.mutex.Unlock()
	if claim.err == nil && pause(ctx, scaleHold) == nil {
		s.releaseOne(ctx, c, name)
	}
}

func (s *scale) releaseOne(ctx context.Context, c *wire.Client, name string) {
	limited, cancel := context.WithTimeout(ctx, scaleClaimLimit)
	defer cancel()
	for {
		err := c.Do(limited, http.MethodDelete, collection(s.r.namespace, "sandboxclaims")+"/"+name, nil, nil, wire.Discard)
		if err == nil || isGone(err) {
			return
		}
		if !isAway(err) || pause(limited, scaleRetry) != nil {
			s.mutex.Lock()
			s.fail("release", err)
			s.mutex.Unlock()
			return
		}
	}
}

// isAway says whether a server was not there for the request, in contrast to having refused it.
func isAway(err error) bool {
	var refused *wire.Refused
	if !errors.As(err, &refused) {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return (refused.Code == http.StatusServiceUnavailable || refused.Code == http.StatusBadGateway) && cause(err) != exhausted
}

func isGone(err error) bool {
	var refused *wire.Refused
	return errors.As(err, &refused) && refused.Code == http.StatusNotFound
}

const exhausted = "PoolExhausted"

// cause of a failure, short enough to be counted by.
func cause(err error) string {
	var refused *wire.Refused
	if !errors.As(err, &refused) {
		return fmt.Sprintf("%T", err)
	}
	_, body, _ := cutBody(refused.Text)
	var status metav1.Status
	if json.Unmarshal([]byte(body), &status) == nil && status.Reason != "" {
		return string(status.Reason)
	}
	return fmt.Sprintf("%d", refused.Code)
}

// cutBody of a refusal's text, which begins with the request.
func cutBody(text string) (before, body string, found bool) {
	for i := range text {
		if text[i] == '{' {
			return text[:i], text[i:], true
		}
	}
	return text, "", false
}

// ready members of all pools, as their status has it.
func (s *scale) ready(ctx context.Context) (int, error) {
	pools, err := s.r.dyn.Resource(cluster.WarmPools).Namespace(s.r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	ready := 0
	for _, pool := range pools.Items {
		text, err := json.Marshal(pool.Object["status"])
		var found levels
		if err = errors.Join(err, json.Unmarshal(text, &found)); err != nil {
			return 0, err
		}
		ready += found.ReadyReplicas
	}
	return ready, nil
}

// sample the stock and the CPU every ten seconds.
func (s *scale) sample(ctx context.Context, stop chan struct{}) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		ready, err := s.ready(ctx)
		if err != nil {
			// The server may just be away.
			ready = -1
		}
		s.mutex.Lock()
		// Without those of a process that has just ended.
		cpu := usage{}
		for name, one := range s.r.processes {
			if used, err := one.CPU(); err == nil {
				cpu[name] = used
			}
		}
		s.levels = append(s.levels, scaleLevel{time.Since(s.begun), ready, cpu})
		s.mutex.Unlock()
		select {
		case <-ticker.C:
		case <-stop:
			return
		}
	}
}
