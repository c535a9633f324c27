package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// What a garbage collector may take to give memory back.
const settling = 10 * time.Second

// footprint of a server, MiB.
type footprint struct{ peak, settled float64 }

// hold so many objects in a fresh server: created by many clients, listed by one as an informer does, and watched.
func hold(ctx context.Context, s *subject, namespace string, objects int) (footprint, error) {
	if err := s.fill(ctx, namespace, objects); err != nil {
		return footprint{}, err
	}
	c, err := wire.New(s.direct)
	if err != nil {
		return footprint{}, err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := fmt.Sprintf("/apis/%s/%s/%s", s.group, s.version, s.plural)
	if err := c.Do(ctx, http.MethodGet, all+"?resourceVersion=0", nil, nil, wire.Discard); err != nil {
		return footprint{}, err
	}
	revision, err := s.revision(ctx, namespace)
	if err != nil {
		return footprint{}, err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- c.Ask(ctx, http.MethodGet, all+"?watch=true&resourceVersion="+revision, nil, nil, func(body io.Reader) error {
			return wire.Discard(body)
		})
	}()
	select {
	case err := <-ended:
		return footprint{}, fmt.Errorf("the watch ended: %w", err)
	case <-time.After(settling):
	}
	peak, resident, err := s.server.Memory()
	return footprint{float64(peak) / 1024, float64(resident) / 1024}, err
}
