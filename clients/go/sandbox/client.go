// Package sandbox does with Sandboxes and claims what is no verb of every kind: to claim one from a pool, to suspend and
// resume it, to run commands in it, to reach its ports and read its log.
//
// Objects are read and written with the clientset beside it. No right on Pods is needed anywhere.
package sandbox

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/clientset/versioned/scheme"
)

// ReasonPoolExhausted is the reason of the error of a claim that was to fail where no stock is ready.
const ReasonPoolExhausted metav1.StatusReason = "PoolExhausted"

// IsPoolExhausted tells whether a claim failed because its pool had nothing ready. Its Retry-After is
// apierrors.SuggestsClientDelay's.
func IsPoolExhausted(err error) bool { return apierrors.ReasonForError(err) == ReasonPoolExhausted }

// Client acts in one namespace. It may be used by any number of goroutines.
type Client struct {
	config    *rest.Config
	rest      rest.Interface
	namespace string
}

// New makes a client; config is copied.
func New(config *rest.Config, namespace string) (*Client, error) {
	if namespace == "" {
		return nil, errors.New("sandbox: a namespace is required")
	}
	config = rest.CopyConfig(config)
	config.GroupVersion = &v1beta1.SchemeGroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	if config.UserAgent == "" {
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return &Client{config: config, rest: client, namespace: namespace}, nil
}

// Target is what a stream goes to.
type Target struct{ resource, name string }

// Named is a Sandbox by its own name.
func Named(sandbox string) Target { return Target{"sandboxes", sandbox} }

// Claimed is the Sandbox that a claim has; the first, if it has several.
func Claimed(claim string) Target { return Target{"sandboxclaims", claim} }

// Wait says that an action answers when it is done, and how long that may take: 30 s if it is 0, at most 55 s. Past that
// the error is a timeout (apierrors.IsTimeout), and what was asked for goes on.
type Wait struct{ Timeout time.Duration }

func (w *Wait) param(request *rest.Request, until string) *rest.Request {
	if w == nil {
		return request
	}
	request = request.Param("wait", until)
	if w.Timeout > 0 {
		request = request.Param("timeout", w.Timeout.String())
	}
	return request
}

// Suspend ends the Pod and keeps volumes, Service and identity. Without wait it answers at once.
func (c *Client) Suspend(ctx context.Context, sandbox string, wait *Wait) (*v1beta1.Sandbox, error) {
	return c.act(ctx, sandbox, "suspend", wait)
}

// Resume starts it again.
func (c *Client) Resume(ctx context.Context, sandbox string, wait *Wait) (*v1beta1.Sandbox, error) {
	return c.act(ctx, sandbox, "resume", wait)
}

// Restart replaces the Pod. It answers at once.
func (c *Client) Restart(ctx context.Context, sandbox string) (*v1beta1.Sandbox, error) {
	return c.act(ctx, sandbox, "restart", nil)
}

func (c *Client) act(ctx context.Context, sandbox, action string, wait *Wait) (*v1beta1.Sandbox, error) {
	request := wait.param(c.at(http.MethodPost, Named(sandbox), action), "true")
	result := &v1beta1.Sandbox{}
	return result, request.Do(ctx).Into(result)
}

// Logs reads the log of a Sandbox. Options are those of a Pod's; nil is all of the first container's.
func (c *Client) Logs(ctx context.Context, target Target, options *corev1.PodLogOptions) (io.ReadCloser, error) {
	request := c.at(http.MethodGet, target, "log")
	if options != nil {
		request = request.SpecificallyVersionedParams(options, podscheme.ParameterCodec, corev1.SchemeGroupVersion)
	}
	return request.Stream(ctx)
}

// at is a request to a subresource.
func (c *Client) at(method string, target Target, subresource string) *rest.Request {
	return c.rest.Verb(method).Namespace(c.namespace).Resource(target.resource).Name(target.name).SubResource(subresource)
}
