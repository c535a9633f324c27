package sandbox

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// ExecOptions is what a command is connected to. A nil stream is not opened.
type ExecOptions struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// TTY gives the command a terminal, whose errors come with the output. Sizes come from Resize, if it is there.
	TTY    bool
	Resize remotecommand.TerminalSizeQueue
	// Container is that of the annotation kubectl.kubernetes.io/default-container, or else the first, if it is empty.
	Container string
}

// Exec runs a command and returns when it has ended. One that fails is an exec.CodeExitError of
// k8s.io/client-go/util/exec. A suspended Sandbox is resumed, if the user may create sandboxes/resume.
func (c *Client) Exec(ctx context.Context, target Target, command []string, options ExecOptions) error {
	if len(command) == 0 {
		return errors.New("sandbox: a command is required")
	}
	request := c.at(http.MethodPost, target, "exec")
	for _, word := range command {
		request = request.Param("command", word)
	}
	return c.stream(ctx, request, options)
}

// Attach connects to what the container runs already, and returns when that has ended or the streams are closed. TTY must
// be as the container has it.
func (c *Client) Attach(ctx context.Context, target Target, options ExecOptions) error {
	return c.stream(ctx, c.at(http.MethodPost, target, "attach"), options)
}

func (c *Client) stream(ctx context.Context, request *rest.Request, options ExecOptions) error {
	for name, wanted := range map[string]bool{
		"stdin": options.Stdin != nil, "stdout": options.Stdout != nil,
		"stderr": options.Stderr != nil && !options.TTY, "tty": options.TTY,
	} {
		if wanted {
			request = request.Param(name, strconv.FormatBool(true))
		}
	}
	if options.Container != "" {
		request = request.Param("container", options.Container)
	}
	executor, err := c.executor(request.URL())
	if err != nil {
		return err
	}
	streams := remotecommand.StreamOptions{
		Stdin: options.Stdin, Stdout: options.Stdout, Tty: options.TTY, TerminalSizeQueue: options.Resize,
	}
	if !options.TTY {
		streams.Stderr = options.Stderr
	}
	return executor.StreamWithContext(ctx, streams)
}

// executor speaks WebSocket, and SPDY where something on the way knows no WebSocket, as kubectl does.
func (c *Client) executor(at *url.URL) (remotecommand.Executor, error) {
	websocket, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, at.String())
	if err != nil {
		return nil, err
	}
	older, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, at)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(websocket, older, knowsNoWebSocket)
}

func knowsNoWebSocket(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}

// Forward is a port, or several, that can be reached on the loopback interface.
type Forward struct {
	// Ports with the local ones that were chosen.
	Ports []portforward.ForwardedPort
	close func() error
	done  chan struct{}
}

// Close ends it, and with it every connection; it tells why it had ended before, if it had.
func (f *Forward) Close() error { return f.close() }

// Done is closed when the forward has ended, by itself or by Close.
func (f *Forward) Done() <-chan struct{} { return f.done }

// ForwardOptions is where ports are made reachable.
type ForwardOptions struct {
	// Ports are each LOCAL:REMOTE, or :REMOTE for a local one that is free.
	Ports []string
	// Addresses to listen on: 127.0.0.1 if there is none.
	Addresses []string
	// Out is told of each connection, ErrOut of what goes wrong with one. Both may be nil.
	Out, ErrOut io.Writer
}

// PortForward makes ports of a Sandbox reachable on 127.0.0.1. Each is LOCAL:REMOTE, or :REMOTE for a local one that is
// free. It lasts until it is closed; ctx ends the attempt to open it alone.
func (c *Client) PortForward(ctx context.Context, target Target, ports ...string) (*Forward, error) {
	return c.Forward(ctx, target, ForwardOptions{Ports: ports})
}

// Forward is PortForward with more to choose.
func (c *Client) Forward(ctx context.Context, target Target, options ForwardOptions) (*Forward, error) {
	at := c.at(http.MethodPost, target, "portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	older := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(at, c.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(tunnel, older, knowsNoWebSocket)
	stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	addresses, out, errOut := options.Addresses, options.Out, options.ErrOut
	if len(addresses) == 0 {
		addresses = []string{"127.0.0.1"}
	}
	if out == nil {
		out = io.Discard
	}
	if errOut == nil {
		errOut = io.Discard
	}
	forwarder, err := portforward.NewOnAddresses(dialer, addresses, options.Ports, stop, ready, out, errOut)
	if err != nil {
		return nil, err
	}
	forward := &Forward{done: make(chan struct{}), close: sync.OnceValue(func() error {
		close(stop)
		return <-done
	})}
	go func() {
		done <- forwarder.ForwardPorts()
		close(forward.done)
	}()
	select {
	case <-ready:
		forward.Ports, err = forwarder.GetPorts()
	case err = <-done:
		return nil, err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = forward.Close()
		return nil, err
	}
	return forward, nil
}
