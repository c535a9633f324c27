// Package forward opens port-forwards, for tests and benchmarks.
package forward

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// dialer of the stream at an address, as kubectl has both.
func dialer(config *rest.Config, at *url.URL, protocol string) (httpstream.Dialer, error) {
	if protocol == "WebSocket" {
		return portforward.NewSPDYOverWebsocketDialer(at, config)
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at), nil
}

// Open makes ports reachable on loopback until it is told to stop, by "SPDY" or by the tunnel over "WebSocket". Each port
// is 0:REMOTE, for a local one that is free.
func Open(ctx context.Context, config *rest.Config, at *url.URL, protocol string, ports ...string) (chosen []portforward.ForwardedPort, stop func(), err error) {
	dials, err := dialer(config, at, protocol)
	if err != nil {
		return nil, nil, err
	}
	halt, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var said bytes.Buffer
	forwarder, err := portforward.NewOnAddresses(dials, []string{"127.0.0.1"}, ports, halt, ready, io.Discard, &said)
	if err != nil {
		return nil, nil, err
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	stop = func() {
		close(halt)
		<-ended
	}
	select {
	case <-ready:
	case err := <-ended:
		return nil, nil, fmt.Errorf("no port is forwarded: %w %s", err, said.String())
	case <-ctx.Done():
		close(halt)
		return nil, nil, ctx.Err()
	}
	if chosen, err = forwarder.GetPorts(); err != nil {
		stop()
		return nil, nil, err
	}
	return chosen, stop, nil
}
