package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/util/exec"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/go/sandbox"
)

// farewell is how long a release may take when the user has had enough.
const farewell = 30 * time.Second

// interrupted is the exit code of what ended by SIGINT, as shells have it.
const interrupted = 130

func newRun(p *plugin) *cobra.Command {
	var flags claimFlags
	var stream streamFlags
	var keep bool
	cmd := &cobra.Command{
		Use:   "run POOL [-i] [-t] -- COMMAND [args...]",
		Short: "Claim a sandbox, run a command in it, and release it",
		Long: `Claim a sandbox, run a command in it, and release it, whatever comes of it. The exit code is the command's.

 An interrupt ends the command and releases the sandbox; a second one does not wait for that.`,
		Example: `  # Untrusted code, and its exit code
  kubectl sandbox run agents -i -- python3 - < script.py

  # A shell in a sandbox that stays
  kubectl sandbox run agents -it --keep -- sh`,
		ValidArgsFunction: p.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash != 1 || len(args) < 2 {
				return cmdutil.UsageErrorf(cmd, "a pool and a command are needed: run POOL -- COMMAND")
			}
			return p.asking(func(ctx context.Context, a *asked) error {
				return p.runIn(ctx, a, args[0], args[1:], flags, stream, keep)
			})
		},
	}
	flags.add(cmd, 2*time.Minute)
	stream.add(cmd, p)
	cmd.Flags().BoolVar(&keep, "keep", false, "Do not release the sandbox.")
	return cmd
}

func (p *plugin) runIn(ctx context.Context, a *asked, pool string, command []string, flags claimFlags, stream streamFlags, keep bool) (err error) {
	// The name is ours, so that a claim whose answer is lost is released as well.
	name := pool + "-" + utilrand.String(5)
	defer func() {
		switch {
		case isRefused(err):
		case !keep:
			if failed := p.released(ctx, a, name); err == nil {
				err = failed
			}
		case !stream.quiet:
			fmt.Fprintf(p.ErrOut, "sandboxclaim.%s/%s is kept\n", group, name)
		}
		if ctx.Err() != nil {
			err = exec.CodeExitError{Err: errors.New("interrupted"), Code: interrupted}
		}
	}()
	if _, err := p.make(ctx, a, pool, flags.claim(name), "ready", flags.timeout, false); err != nil {
		return refused(err)
	}
	return p.connected(stream, func(options sandbox.ExecOptions) error {
		return a.actions.Exec(ctx, sandbox.Claimed(name), command, options)
	})
}

// refusal is the error of a claim that the server did not make.
type refusal struct{ *apierrors.StatusError }

// refused tells what was not made from what may have been.
func refused(err error) error {
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		return err
	}
	if code := status.ErrStatus.Code; sandbox.IsPoolExhausted(err) || code >= 400 && code < 500 && code != http.StatusTooManyRequests {
		return refusal{status}
	}
	return err
}

func isRefused(err error) bool {
	_, is := err.(refusal)
	return is
}

// released also when the user has had enough.
func (p *plugin) released(ctx context.Context, a *asked, name string) error {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := a.actions.Release(last, name); err != nil {
		fmt.Fprintf(p.ErrOut, "warning: sandboxclaim.%s/%s was not released: %v\n", group, name, err)
		return err
	}
	return nil
}
