package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

const (
	watchers = 100
	// Several, so that a slow write delays the following ones of its own writer alone.
	fanoutWriters  = 4
	writesASecond  = 100
	fanoutPatience = 20 * time.Second
)

// fanout of writes at a steady rate to watchers of the same namespace, one connection each. The sample's times are
// from a write's send to its receipt by a watcher.
func fanout(ctx context.Context, s *subject, config *rest.Config, namespace string, most time.Duration, into *sample) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	writes := int(most.Seconds() * writesASecond)
	epoch := time.Now()
	revision, err := s.revision(ctx, namespace)
	if err != nil {
		return err
	}
	open := newBarrier(watchers+1, func() error { return nil })
	received := make([][]time.Duration, watchers)
	var watching sync.WaitGroup
	watched := make(chan error, 1)
	watching.Go(func() {
		watched <- wire.Together(ctx, config, watchers, func(ctx context.Context, c *wire.Client, i int) error {
			path := s.collection(namespace) + "?watch=true&resourceVersion=" + revision
			return c.Ask(ctx, http.MethodGet, path, nil, nil, func(body io.Reader) (err error) {
				if err := open.wait(ctx); err != nil {
					return err
				}
				received[i], err = receive(body, writes, func() time.Duration { return time.Since(epoch) })
				return err
			})
		})
	})
	defer watching.Wait()
	// Not ended by whoever leaves early: `cancel` comes first.
	defer cancel()
	if err := firstOf(watched, func() error { return open.wait(ctx) }); err != nil {
		return fmt.Errorf("%s: open the watches: %w", s.name, err)
	}
	var meter meter
	if err := meter.begin(s); err != nil {
		return err
	}
	if err := s.write(ctx, config, namespace, writes, epoch); err != nil {
		return fmt.Errorf("%s: write: %w", s.name, err)
	}
	select {
	case err := <-watched:
		if err != nil {
			return fmt.Errorf("%s: watch: %w", s.name, err)
		}
	case <-time.After(fanoutPatience):
		return fmt.Errorf("%s: not every event has come %v after the last write", s.name, fanoutPatience)
	}
	if err := meter.end(s, into); err != nil {
		return err
	}
	for _, times := range received {
		into.times = append(into.times, times...)
	}
	return nil
}

// firstOf what was started and what is done here, should the former fail.
func firstOf(failed chan error, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case err := <-failed:
		return errors.Join(errors.New("a watch ended early"), err)
	}
}

// revision of the list that the watches go on from.
func (s *subject) revision(ctx context.Context, namespace string) (string, error) {
	c, err := wire.New(s.direct)
	if err != nil {
		return "", err
	}
	defer c.Close()
	text, err := c.Get(ctx, s.collection(namespace)+"?limit=1")
	if err != nil {
		return "", err
	}
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	err = json.Unmarshal(text, &list)
	return list.Metadata.ResourceVersion, err
}

// write at the rate, whatever the answers take; each write carries the moment of its send.
func (s *subject) write(ctx context.Context, config *rest.Config, namespace string, writes int, epoch time.Time) error {
	begun := time.Now()
	return wire.Together(ctx, config, fanoutWriters, func(ctx context.Context, c *wire.Client, i int) error {
		for n := i; n < writes; n += fanoutWriters {
			due := begun.Add(time.Duration(n) * time.Second / writesASecond)
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
				return ctx.Err()
			}
			path := s.collection(namespace) + "/" + objectName(n%small)
			if err := c.Do(ctx, http.MethodPatch, path, patch(int64(time.Since(epoch))), mergePatch, wire.Discard); err != nil {
				return err
			}
		}
		return nil
	})
}

// receive the events of so many writes, one per line, without decoding them: the clients share the machine with the
// server. The product's loop may write too; such an event repeats the moment of a write before, or of none.
func receive(stream io.Reader, events int, now func() time.Duration) ([]time.Duration, error) {
	times := make([]time.Duration, 0, events)
	seen := map[time.Duration]bool{0: true}
	lines := bufio.NewReaderSize(stream, 64<<10)
	for len(times) < events {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("after %d of %d events: %w", len(times), events, err)
		}
		at := now()
		if bytes.HasPrefix(line, []byte(`{"type":"BOOKMARK"`)) {
			continue
		}
		if !bytes.HasPrefix(line, []byte(`{"type":"MODIFIED"`)) {
			return nil, fmt.Errorf("event %.200s", line)
		}
		sent, err := sentAt(line)
		if err != nil {
			return nil, err
		}
		if seen[sent] {
			continue
		}
		seen[sent] = true
		times = append(times, at-sent)
	}
	return times, nil
}

// sentAt is the moment in the annotation; the name is also in managedFields, where no number follows.
func sentAt(line []byte) (time.Duration, error) {
	_, rest, found := bytes.Cut(line, []byte(`"`+sentKey+`":"`))
	if !found || len(rest) < sentWidth {
		return 0, fmt.Errorf("no %s in %.200s", sentKey, line)
	}
	number, err := strconv.ParseInt(string(rest[:sentWidth]), 10, 64)
	return time.Duration(number), err
}
