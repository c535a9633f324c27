package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestArrivalsAreOfTheRate(t *testing.T) {
	at := arrivals(100_000, 100, 1)
	if !slices.IsSorted(at) {
		t.Error("time runs backwards")
	}
	if seconds := at[len(at)-1].Seconds(); math.Abs(seconds-1000) > 20 {
		t.Errorf("100,000 at 100/s take %v s", seconds)
	}
	// Of a Poisson process 1-1/e of the gaps are shorter than the mean one.
	short, before := 0, time.Duration(0)
	for _, now := range at {
		if now-before < 10*time.Millisecond {
			short++
		}
		before = now
	}
	if share := float64(short) / float64(len(at)); math.Abs(share-(1-1/math.E)) > 0.01 {
		t.Errorf("%v of the gaps are short", share)
	}
	if !slices.Equal(at, arrivals(100_000, 100, 1)) || slices.Equal(at, arrivals(100_000, 100, 2)) {
		t.Error("the seed does not decide")
	}
}

// fakeConnection fails every third claim.
type fakeConnection struct{ claims *atomic.Int64 }

func (f fakeConnection) warm(context.Context) error { return nil }
func (f fakeConnection) close()                     {}
func (f fakeConnection) claim(context.Context, int) ([]string, error) {
	if f.claims.Add(1)%3 == 0 {
		return nil, errors.New("refused")
	}
	return []string{"uid"}, nil
}

func TestEveryLoadMakesItsClaims(t *testing.T) {
	for _, l := range []load{
		{name: "closed", claims: 30, rounds: 1},
		{name: "open", claims: 30, rounds: 1, rate: 10_000},
		{name: "burst", claims: 30, rounds: 1, burst: true},
	} {
		var claims atomic.Int64
		noted := atomic.Int64{}
		connections := []connection{fakeConnection{&claims}, fakeConnection{&claims}}
		got, err := l.run(context.Background(), connections, func(uids []string) { noted.Add(int64(len(uids))) }, 1)
		if err != nil || got.errors != 10 || len(got.times) != 20 || len(got.rounds) != 1 || noted.Load() != 20 || got.first == nil {
			t.Errorf("%s: %v, %d errors, %d times, %d rounds, %d noted", l.name, err, got.errors, len(got.times), len(got.rounds), noted.Load())
		}
	}
}

func TestTheSlowestRoundCounts(t *testing.T) {
	o := outcome{rounds: []time.Duration{2, 5, 3}}
	if o.slowest() != 5 || o.took() != 10 || (outcome{}).slowest() != 0 {
		t.Errorf("slowest %v of %v", o.slowest(), o.took())
	}
}
