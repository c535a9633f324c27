// Package wire is the client of the benchmarks: one connection, requests as bytes, answers decoded only where asked.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// Directly to a server of ours as the administrator, by a certificate of the cluster's client CA: of system:masters, so
// that nobody asks for a SubjectAccessReview.
func Directly(env cluster.Environment, host string) *rest.Config {
	pki := func(file string) string { return filepath.Join(env.DevDir, "pki", file) }
	return &rest.Config{Host: host, QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAFile: pki("serving-ca.crt"), CertFile: pki("admin.crt"), KeyFile: pki("admin.key"),
	}}
}

// Client on a connection of its own, as another process would have.
type Client struct {
	HTTP *http.Client
	host string
}

// Every request ends; none of those that are measured comes near.
const requestLimit = time.Minute

// New client of a server.
func New(config *rest.Config) (*Client, error) {
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
	return &Client{made, config.Host}, nil
}

// Close the connection.
func (c *Client) Close() { c.HTTP.CloseIdleConnections() }

// Ask and hand the body to the reader; anything but success is an error.
func (c *Client) Ask(ctx context.Context, method, path string, body []byte, header http.Header, read func(io.Reader) error) error {
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
	answer, err := c.HTTP.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return &Refused{answer.StatusCode, fmt.Sprintf("%s %s: %s %s", method, path, answer.Status, text)}
	}
	return read(answer.Body)
}

// Refused by the server.
type Refused struct {
	Code int
	Text string
}

func (r *Refused) Error() string { return r.Text }

// Do is Ask within a minute.
func (c *Client) Do(ctx context.Context, method, path string, body []byte, header http.Header, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	return c.Ask(ctx, method, path, body, header, read)
}

// Discard the answer: decoding it would measure the client.
func Discard(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

// Get the whole answer.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	var text []byte
	err := c.Do(ctx, http.MethodGet, path, nil, nil, func(body io.Reader) (err error) {
		text, err = io.ReadAll(body)
		return err
	})
	return text, err
}

// Together runs one function per client, each on a connection of its own; the first failure ends all.
func Together(ctx context.Context, config *rest.Config, clients int, work func(ctx context.Context, c *Client, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	failures := make([]error, clients)
	for i := range clients {
		c, err := New(config)
		if err != nil {
			cancel()
			workers.Wait()
			return err
		}
		workers.Go(func() {
			defer c.Close()
			if failures[i] = work(ctx, c, i); failures[i] != nil {
				cancel()
			}
		})
	}
	workers.Wait()
	for _, failure := range failures {
		// That one is the cause of the others.
		if failure != nil && !errors.Is(failure, context.Canceled) {
			return failure
		}
	}
	return errors.Join(failures...)
}
