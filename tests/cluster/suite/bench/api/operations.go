package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// operation of which a cell measures one after another, on each of some clients.
type operation struct {
	name string
	// A turn ends by the first of them.
	most  time.Duration
	count int
	// The objects that must be there, and where.
	namespace string
	objects   int
	// Whether the objects that it leaves behind are in the way of the next turn.
	makes bool
	do    func(ctx context.Context, c *wire.Client, s *subject, at position) error
}

// position of one request: whose it is, and the how manieth.
type position struct {
	namespace string
	client    int
	number    int64
}

const (
	small = 100
	large = 5000
)

func operations(run *run) []operation {
	few, many, fresh := run.namespace("few"), run.namespace("many"), run.namespace("fresh")
	turn := run.turn
	return []operation{
		{name: "get", most: turn, count: 20_000, namespace: few, objects: small,
			do: func(ctx context.Context, c *wire.Client, s *subject, at position) error {
				path := s.collection(at.namespace) + "/" + objectName(int(at.number)%small)
				return c.Do(ctx, http.MethodGet, path, nil, nil, wire.Discard)
			}},
		{name: "create", most: turn, count: 2_000, namespace: fresh, makes: true,
			do: func(ctx context.Context, c *wire.Client, s *subject, at position) error {
				return create(ctx, c, s, at.namespace, fmt.Sprintf("made-%02d-%06d", at.client, at.number))
			}},
		{name: "patch", most: turn, count: 20_000, namespace: few, objects: small,
			do: func(ctx context.Context, c *wire.Client, s *subject, at position) error {
				// An object of its own for each client: a lost race would measure the retry.
				path := s.collection(at.namespace) + "/" + objectName(at.client)
				return c.Do(ctx, http.MethodPatch, path, patch(time.Now().UnixNano()), mergePatch, wire.Discard)
			}},
		{name: fmt.Sprintf("list %d", small), most: turn, count: 5_000, namespace: few, objects: small, do: list(nil)},
		{name: fmt.Sprintf("list %d", large), most: 2 * turn, count: 1_000, namespace: many, objects: large, do: list(nil)},
		{name: fmt.Sprintf("list %d gzip", large), most: 2 * turn, count: 1_000, namespace: many, objects: large, do: list(withGzip)},
	}
}

var (
	mergePatch = http.Header{"Content-Type": {"application/merge-patch+json"}}
	withGzip   = http.Header{"Accept-Encoding": {"gzip"}}
)

func list(header http.Header) func(context.Context, *wire.Client, *subject, position) error {
	return func(ctx context.Context, c *wire.Client, s *subject, at position) error {
		return c.Do(ctx, http.MethodGet, s.collection(at.namespace), nil, header, func(body io.Reader) error {
			length, err := io.Copy(io.Discard, body)
			if err != nil {
				return err
			}
			// An empty list would be fast.
			if length < 1000 {
				return fmt.Errorf("a list of %d bytes", length)
			}
			return nil
		})
	}
}
