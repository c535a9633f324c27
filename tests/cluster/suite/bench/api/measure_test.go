package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSamplesAreSummed(t *testing.T) {
	s := sample{took: 2 * time.Second, serverCPU: 500 * time.Millisecond, etcdCPU: 100 * time.Millisecond}
	for i := range 1000 {
		s.times = append(s.times, time.Duration(i+1)*time.Millisecond)
	}
	s.sum()
	if s.p50 != 500 || s.p90 != 900 || s.p99 != 990 || s.rate != 500 || s.cpu != 500 || s.etcd != 100 {
		t.Errorf("p50 %v p90 %v p99 %v rate %v cpu %v etcd %v", s.p50, s.p90, s.p99, s.rate, s.cpu, s.etcd)
	}
}

func TestBarrierOpensForTheLast(t *testing.T) {
	const count = 8
	var arrived, begun atomic.Int64
	b := newBarrier(count, func() error {
		begun.Add(1)
		if n := arrived.Load(); n != count {
			t.Errorf("begun with %d of %d", n, count)
		}
		return nil
	})
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			arrived.Add(1)
			if err := b.wait(context.Background()); err != nil {
				t.Error(err)
			}
			if begun.Load() != 1 {
				t.Errorf("begun %d times", begun.Load())
			}
		})
	}
	all.Wait()
}

func TestBarrierFailsAndIsLeft(t *testing.T) {
	broken := errors.New("broken")
	if err := newBarrier(1, func() error { return broken }).wait(context.Background()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := newBarrier(2, nil).wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
