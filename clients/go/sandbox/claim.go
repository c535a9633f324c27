package sandbox

import (
	"context"
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
)

// ClaimOptions is how a claim is made.
type ClaimOptions struct {
	// Bound waits until the claim has its Sandbox: for claims that wait for stock.
	Bound *Wait
	// Ready waits until that can be used. It counts more than Bound.
	Ready *Wait
	// DryRun says what would be bound.
	DryRun bool
	// Attempts is how often to ask where the answer is lost or the server is busy; 5 if it is 0.
	Attempts int
}

// Claim takes a Sandbox from a pool in one request, and returns the claim with what it is bound to.
//
// Of claim everything may be empty: it gets a name, and an idempotency key if it has none. With that key the request is
// repeated after errors of the connection, 429, 503 and 504, and never claims twice. What is not bound when the last
// attempt has failed may still become so: the claim is found by its name or key.
func (c *Client) Claim(ctx context.Context, pool string, claim *v1beta1.SandboxClaim, options ClaimOptions) (*v1beta1.SandboxClaim, error) {
	asked := &v1beta1.SandboxClaim{}
	if claim != nil {
		asked = claim.DeepCopy()
	}
	if asked.Spec.IdempotencyKey == "" {
		asked.Spec.IdempotencyKey = string(uuid.NewUUID())
	}
	attempts := options.Attempts
	if attempts <= 0 {
		attempts = 5
	}
	pause := wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: attempts, Cap: 10 * time.Second}
	for {
		bound, err := c.claimOnce(ctx, pool, asked, options)
		attempts--
		if err == nil || attempts == 0 || !mayRepeat(err) || ctx.Err() != nil {
			return bound, err
		}
		delay := pause.Step()
		if seconds, told := apierrors.SuggestsClientDelay(err); told {
			delay = max(delay, time.Duration(seconds)*time.Second)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(delay):
		}
	}
}

func (c *Client) claimOnce(ctx context.Context, pool string, claim *v1beta1.SandboxClaim, options ClaimOptions) (*v1beta1.SandboxClaim, error) {
	// client-go would repeat by itself, and take an empty pool for a busy server.
	request := c.at(http.MethodPost, Target{"sandboxwarmpools", pool}, "claim").MaxRetries(0).Body(claim)
	switch {
	case options.Ready != nil:
		request = options.Ready.param(request, "ready")
	case options.Bound != nil:
		request = options.Bound.param(request, "bound")
	}
	if options.DryRun {
		request = request.Param("dryRun", metav1.DryRunAll)
	}
	bound := &v1beta1.SandboxClaim{}
	if err := request.Do(ctx).Into(bound); err != nil {
		return nil, err
	}
	return bound, nil
}

// mayRepeat tells whether the same request may do better. What is no answer of the server's is a matter of the connection.
func mayRepeat(err error) bool {
	if IsPoolExhausted(err) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	switch status.Status().Code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusBadGateway:
		return true
	}
	return false
}

// Release deletes a claim, and with it its Sandbox. One that is gone is no error.
func (c *Client) Release(ctx context.Context, claim string) error {
	err := c.rest.Delete().Namespace(c.namespace).Resource("sandboxclaims").Name(claim).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
