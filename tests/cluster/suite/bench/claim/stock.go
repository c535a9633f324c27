package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

const (
	// As many members of a pool as may be on their way at a time: while they are, it makes no others.
	refillBlock = 100
	// A stock of thousands on two cores.
	stockLimit = 10 * time.Minute
	claimUID   = cluster.Group + "/claim-uid"
	// What follows from a Pod that shows whose it is has happened by then, unless it is a refill.
	followed = 1500 * time.Millisecond
)

// stock is a pool on kwok's nodes, and how much of it has been claimed.
type stock struct {
	r       *run
	pool    string
	size    int
	taken   int
	blocked bool
	made    bool
}

// stockSize is enough for most cells one after the other, without a new stock in between.
func (r *run) stockSize() int { return r.scaled(2500) }

func object(kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": cluster.GroupVersion,
		"kind":       kind,
		"metadata":   map[string]any{"namespace": namespace, "name": name},
		"spec":       spec,
	}}
}

// makePool with a template of its name.
func (r *run) makePool(ctx context.Context, name string, pod map[string]any, replicas int) error {
	template := object("SandboxTemplate", r.namespace, name, map[string]any{"podTemplate": map[string]any{"spec": pod}})
	if err := r.create(ctx, cluster.Templates, template); err != nil {
		return err
	}
	return r.create(ctx, cluster.WarmPools, object("SandboxWarmPool", r.namespace, name, map[string]any{
		"replicas": int64(replicas), "sandboxTemplateRef": map[string]any{"name": name},
	}))
}

// create an object as soon as the server has heard of the namespace.
func (r *run) create(ctx context.Context, resource schema.GroupVersionResource, object *unstructured.Unstructured) error {
	return process.Await(ctx, object.GetKind(), time.Minute, func() error {
		_, err := r.dyn.Resource(resource).Namespace(r.namespace).Create(ctx, object, metav1.CreateOptions{})
		return err
	})
}

// levels of a pool's status.
type levels struct{ Replicas, ReadyReplicas int }

func (r *run) levels(ctx context.Context, pool string) (levels, error) {
	var found struct{ Status levels }
	got, err := r.dyn.Resource(cluster.WarmPools).Namespace(r.namespace).Get(ctx, pool, metav1.GetOptions{})
	if err != nil {
		return found.Status, err
	}
	text, err := json.Marshal(got.Object)
	if err != nil {
		return found.Status, err
	}
	err = json.Unmarshal(text, &found)
	return found.Status, err
}

// awaitLevels of a pool: all there and so many of them ready.
func (r *run) awaitLevels(ctx context.Context, pool string, all, ready int) error {
	return process.Await(ctx, fmt.Sprintf("pool %s with %d of %d ready", pool, ready, all), stockLimit, func() error {
		found, err := r.levels(ctx, pool)
		if err != nil {
			return err
		}
		if found.Replicas != all || found.ReadyReplicas != ready {
			return fmt.Errorf("%d of %d are ready", found.ReadyReplicas, found.Replicas)
		}
		return nil
	})
}

func (r *run) resize(ctx context.Context, pool string, replicas int) error {
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	// The server may have been restarted a moment ago.
	return process.Await(ctx, "size of pool "+pool, time.Minute, func() error {
		_, err := r.dyn.Resource(cluster.WarmPools).Namespace(r.namespace).Patch(ctx, pool, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// ready makes sure of `count` members that can be claimed, with refill or without.
func (s *stock) ready(ctx context.Context, count int, refill bool) error {
	if count > s.size {
		return fmt.Errorf("%d claims of a stock of %d", count, s.size)
	}
	if !s.made {
		if err := s.r.makePool(ctx, s.pool, fakePod(), s.size); err != nil {
			return err
		}
		s.made = true
		if err := s.full(ctx); err != nil {
			return err
		}
	}
	if s.blocked == refill || s.taken+count > s.size || refill && s.taken > 0 {
		if err := s.restock(ctx); err != nil {
			return err
		}
	}
	if !refill && !s.blocked {
		return s.block(ctx)
	}
	return nil
}

// labelled: the Pods of all that was claimed say so, but for `missing` that are not claimed yet.
func (s *stock) labelled(ctx context.Context, subject subject, missing int) error {
	if subject == peer {
		return nil
	}
	front, err := wire.New(s.r.admin)
	if err != nil {
		return err
	}
	defer front.Close()
	path := "/api/v1/namespaces/" + s.r.namespace + "/pods?labelSelector=" + claimUID
	return process.Await(ctx, "Pods that show whose they are", time.Minute, func() error {
		found, err := count(ctx, front, path)
		if wanted := s.taken - missing; err == nil && found < wanted {
			return fmt.Errorf("%d of %d", found, wanted)
		}
		return err
	})
}

func (s *stock) full(ctx context.Context) error {
	s.taken = 0
	return s.r.awaitLevels(ctx, s.pool, s.size, s.size)
}

// restock after the claims have been released.
func (s *stock) restock(ctx context.Context) error {
	if err := s.r.release(ctx); err != nil {
		return err
	}
	if s.blocked {
		// The unready go first.
		if err := s.r.resize(ctx, s.pool, s.size); err != nil {
			return err
		}
		if err := s.r.cordon(ctx, false); err != nil {
			return err
		}
		s.blocked = false
	}
	return s.full(ctx)
}

// block the refill: see the conditions.
func (s *stock) block(ctx context.Context) error {
	if err := s.r.cordon(ctx, true); err != nil {
		return err
	}
	if err := s.r.resize(ctx, s.pool, s.size+refillBlock); err != nil {
		return err
	}
	s.blocked = true
	if err := s.r.awaitLevels(ctx, s.pool, s.size+refillBlock, s.size); err != nil {
		return err
	}
	// A status that says "not ready" is written two seconds late.
	return pause(ctx, 3*time.Second)
}

// release all claims, and wait until their Sandboxes and Pods are gone.
func (r *run) release(ctx context.Context) error {
	c, err := wire.New(r.direct)
	if err != nil {
		return err
	}
	defer c.Close()
	claims := collection(r.namespace, "sandboxclaims")
	err = process.Await(ctx, "deletion of the claims", time.Minute, func() error {
		return c.Do(ctx, http.MethodDelete, claims, nil, nil, wire.Discard)
	})
	if err != nil {
		return err
	}
	front, err := wire.New(r.admin)
	if err != nil {
		return err
	}
	defer front.Close()
	return process.Await(ctx, "end of what was claimed", stockLimit, func() error {
		for _, all := range []struct {
			of   *wire.Client
			path string
		}{
			{c, claims + "?limit=1"},
			{c, collection(r.namespace, "sandboxes") + "?limit=1&labelSelector=" + claimUID},
			{front, "/api/v1/namespaces/" + r.namespace + "/pods?limit=1&labelSelector=" + claimUID},
		} {
			if err := isEmpty(ctx, all.of, all.path); err != nil {
				return err
			}
		}
		return nil
	})
}

func isEmpty(ctx context.Context, c *wire.Client, path string) error {
	found, err := count(ctx, c, path)
	if err == nil && found > 0 {
		return errors.New("not empty: " + path)
	}
	return err
}

// count the objects of a list.
func count(ctx context.Context, c *wire.Client, path string) (int, error) {
	metadata := http.Header{"Accept": {"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}}
	var list struct{ Items []struct{} }
	err := c.Do(ctx, http.MethodGet, path, nil, metadata, func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&list)
	})
	return len(list.Items), err
}

func collection(namespace, plural string) string {
	return fmt.Sprintf("/apis/%s/namespaces/%s/%s", cluster.GroupVersion, namespace, plural)
}

func pause(ctx context.Context, long time.Duration) error {
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
