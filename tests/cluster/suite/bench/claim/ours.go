package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// connection of a client that claims.
type connection interface {
	// warm it: the first request of a connection pays for its handshakes.
	warm(ctx context.Context) error
	// claim so many Sandboxes at once; returns their uids.
	claim(ctx context.Context, replicas int) ([]string, error)
	close()
}

// ours is a connection to our server, directly or through the aggregator.
type ours struct {
	client *wire.Client
	pool   string
}

func connectOurs(config *rest.Config, namespace, pool string) (connection, error) {
	client, err := wire.New(config)
	if err != nil {
		return nil, err
	}
	return &ours{client, collection(namespace, "sandboxwarmpools") + "/" + pool}, nil
}

func (o *ours) warm(ctx context.Context) error {
	return o.client.Do(ctx, http.MethodGet, o.pool, nil, nil, wire.Discard)
}

func (o *ours) claim(ctx context.Context, replicas int) ([]string, error) {
	var uids []string
	err := o.client.Do(ctx, http.MethodPost, o.pool+"/claim", claimBody("", replicas), nil, func(body io.Reader) (err error) {
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		uids, err = bound(text, replicas)
		return err
	})
	return uids, err
}

func (o *ours) close() { o.client.Close() }

// claimBody never lets a cold start slip in.
func claimBody(name string, replicas int) []byte {
	spec := map[string]any{"onEmptyPool": "Fail"}
	if replicas > 1 {
		spec["replicas"] = replicas
	}
	claim := map[string]any{"spec": spec}
	if name != "" {
		claim["metadata"] = map[string]any{"name": name}
	}
	body, err := json.Marshal(claim)
	if err != nil {
		// Maps of strings and numbers.
		panic(err)
	}
	return body
}

// bound reads the uids of what an answer says was taken from stock.
func bound(answer []byte, replicas int) ([]string, error) {
	type sandbox struct{ UID, LaunchType string }
	var claim struct {
		Status struct {
			Sandbox   *sandbox
			Sandboxes []sandbox
		}
	}
	if err := json.Unmarshal(answer, &claim); err != nil {
		return nil, err
	}
	all := claim.Status.Sandboxes
	if replicas == 1 && claim.Status.Sandbox != nil {
		all = []sandbox{*claim.Status.Sandbox}
	}
	if len(all) != replicas {
		return nil, fmt.Errorf("%d Sandboxes, want %d: %.300s", len(all), replicas, answer)
	}
	uids := make([]string, len(all))
	for i, one := range all {
		if one.LaunchType != "Warm" {
			return nil, fmt.Errorf("a launch of type %q", one.LaunchType)
		}
		if one.UID == "" {
			return nil, errors.New("a Sandbox without uid")
		}
		uids[i] = one.UID
	}
	return uids, nil
}
