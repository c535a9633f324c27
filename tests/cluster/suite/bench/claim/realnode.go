package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/figures"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

const (
	realTitle = "real node"
	realPool  = "real"
	realSize  = 10
)

// realNode claims from a pool on the real kubelet, one after the other, and waits for the refill in between.
func (r *run) realNode(ctx context.Context) error {
	if !r.wants(realTitle) {
		return nil
	}
	if err := r.makePool(ctx, realPool, cluster.PodSpec(), realSize); err != nil {
		return err
	}
	fmt.Printf("\nReal node, a pool of %d, claims one by one, each when the pool is full; milliseconds:\n\n", realSize)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tclaims\tp50\tp90\tp99\tmax\trefilled p50\trefilled max\t")
	for _, s := range []subject{directly, aggregated} {
		claims, refills, err := r.onRealNode(ctx, s, r.scaled(30))
		if err != nil {
			return err
		}
		ms := func(times []time.Duration, q float64) float64 {
			return figures.Milliseconds(figures.Quantile(times, q))
		}
		fmt.Fprintf(table, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t\n", s, len(claims),
			ms(claims, 0.5), ms(claims, 0.9), ms(claims, 0.99), ms(claims, 1), ms(refills, 0.5), ms(refills, 1))
	}
	// Errors of a terminal have nowhere to go.
	return table.Flush()
}

func (r *run) onRealNode(ctx context.Context, s subject, count int) (claims, refills []time.Duration, err error) {
	config := r.direct
	if s == aggregated {
		config = r.admin
	}
	c, err := connectOurs(config, r.namespace, realPool)
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	if err := r.awaitLevels(ctx, realPool, realSize, realSize); err != nil {
		return nil, nil, err
	}
	if err := c.warm(ctx); err != nil {
		return nil, nil, err
	}
	direct, err := wire.New(r.direct)
	if err != nil {
		return nil, nil, err
	}
	defer direct.Close()
	pool, err := r.dyn.Resource(cluster.WarmPools).Namespace(r.namespace).Get(ctx, realPool, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	selector, _, _ := unstructured.NestedString(pool.Object, "status", "selector")
	members := collection(r.namespace, "sandboxes") + "?labelSelector=" + url.QueryEscape(selector)
	for range count {
		started := time.Now()
		uids, err := c.claim(ctx, 1)
		if err != nil {
			return nil, nil, err
		}
		claims = append(claims, time.Since(started))
		r.note(uids)
		if err := r.awaitRefill(ctx, direct, members); err != nil {
			return nil, nil, err
		}
		refills = append(refills, time.Since(started))
	}
	return claims, refills, r.release(ctx)
}

// awaitRefill of the real pool, by its members: its status is not written at every change.
func (r *run) awaitRefill(ctx context.Context, c *wire.Client, members string) error {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		text, err := c.Get(ctx, members)
		if err != nil {
			return err
		}
		ready, err := readyOf(text)
		if err != nil || ready == realSize {
			return err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the pool was not refilled within a minute")
}

// readyOf counts the ready ones in a list of Sandboxes.
func readyOf(text []byte) (int, error) {
	var list struct {
		Items []struct {
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return 0, err
	}
	ready := 0
	for _, item := range list.Items {
		for _, condition := range item.Status.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" {
				ready++
			}
		}
	}
	return ready, nil
}
