package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// subject is a server under measurement, with one kind of its objects.
type subject struct {
	name         string
	group        string
	version      string
	plural       string
	kind         string
	spec         map[string]any
	server, etcd process
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

// client on a connection of its own, as another process would have.
type client struct {
	http *http.Client
	host string
}

// Every request ends; none of those that are measured comes near.
const requestLimit = time.Minute

func newClient(config *rest.Config) (*client, error) {
	own := rest.CopyConfig(config)
	// Connections are shared by configurations that are alike; a dialer makes this one unlike the others.
	own.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	// As clients in a cluster do: bytes are cheaper than gzip there.
	own.DisableCompression = true
	own.UserAgent = "bench"
	made, err := rest.HTTPClientFor(own)
	if err != nil {
		return nil, err
	}
	return &client{made, config.Host}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// ask and hand the body to the reader; anything but success is an error.
func (c *client) ask(ctx context.Context, method, path string, body []byte, header http.Header, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, method, c.host+path, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		request.Header[name] = values
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return &refused{answer.StatusCode, fmt.Sprintf("%s %s: %s %s", method, path, answer.Status, text)}
	}
	return read(answer.Body)
}

// refused by the server.
type refused struct {
	code int
	text string
}

func (r *refused) Error() string { return r.text }

func (c *client) do(ctx context.Context, method, path string, body []byte, header http.Header, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	return c.ask(ctx, method, path, body, header, read)
}

// discard the answer: decoding it would measure the client.
func discard(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

// whole answer.
func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	var text []byte
	err := c.do(ctx, http.MethodGet, path, nil, nil, func(body io.Reader) (err error) {
		text, err = io.ReadAll(body)
		return err
	})
	return text, err
}

func (c *client) create(ctx context.Context, s *subject, namespace, name string) error {
	return c.do(ctx, http.MethodPost, s.collection(namespace), s.object(namespace, name), nil, discard)
}
