package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// subject is a server under measurement, with one kind of its objects.
type subject struct {
	name         string
	group        string
	version      string
	plural       string
	kind         string
	spec         map[string]any
	server, etcd process.Process
	// The server itself, and the aggregator in front of it.
	direct, proxied *rest.Config
	// settled objects say this; what a loop writes after the create must not fall into a measurement.
	settled string
	padding int
}

const (
	ours    = "ours"
	peer    = "Go"
	product = "Sandbox"

	// Everybody's annotations: one that makes objects of like size, one that patches change.
	padKey  = "bench/pad"
	sentKey = "bench/sent"
	// Of one width, so that a patch leaves the size.
	sentWidth = 19
)

func (s *subject) collection(namespace string) string {
	return fmt.Sprintf("/apis/%s/%s/namespaces/%s/%s", s.group, s.version, namespace, s.plural)
}

func (s *subject) object(namespace, name string) []byte {
	body, err := json.Marshal(map[string]any{
		"apiVersion": s.group + "/" + s.version,
		"kind":       s.kind,
		"metadata": map[string]any{
			"namespace":   namespace,
			"name":        name,
			"annotations": map[string]any{padKey: strings.Repeat("x", s.padding), sentKey: sent(0)},
		},
		"spec": s.spec,
	})
	if err != nil {
		// Strings and maps of strings.
		panic(err)
	}
	return body
}

func sent(number int64) string { return fmt.Sprintf("%0*d", sentWidth, number) }

func patch(number int64) []byte {
	return fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, sentKey, sent(number))
}

// sandboxSpec without a Pod: the node must not be in the figures.
func sandboxSpec() map[string]any {
	return cluster.Sandbox("", "", cluster.Suspended).Object["spec"].(map[string]any)
}

func create(ctx context.Context, c *wire.Client, s *subject, namespace, name string) error {
	return c.Do(ctx, http.MethodPost, s.collection(namespace), s.object(namespace, name), nil, wire.Discard)
}
