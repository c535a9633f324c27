package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sandbox-apiserver.local/clients/go/sandbox"
)

func newPortForward(p *plugin) *cobra.Command {
	var addresses []string
	cmd := &cobra.Command{
		Use:   "port-forward NAME [LOCAL_PORT:]REMOTE_PORT...",
		Short: "Forward local ports to a sandbox",
		Long: `Forward local ports to a sandbox, until it is interrupted or the sandbox is gone.

 What listens in the sandbox may do so on its loopback interface.`,
		Example: `  # 8080 here is 8080 there
  kubectl sandbox port-forward my-sandbox 8080

  # A local port that is free
  kubectl sandbox port-forward claim/my-claim :5000`,
		Args:              usage(cobra.MinimumNArgs(2)),
		ValidArgsFunction: p.completeTargets,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.at(args[0], func(ctx context.Context, a *asked, target sandbox.Target) error {
				forward, err := a.actions.Forward(ctx, target, sandbox.ForwardOptions{
					Ports: args[1:], Addresses: addresses, Out: p.Out, ErrOut: p.ErrOut,
				})
				if err != nil {
					return err
				}
				select {
				case <-ctx.Done():
					return forward.Close()
				case <-forward.Done():
					if err := forward.Close(); err != nil {
						return fmt.Errorf("lost connection to the sandbox: %w", err)
					}
					return errors.New("lost connection to the sandbox")
				}
			})
		},
	}
	cmd.Flags().StringSliceVar(&addresses, "address", []string{"localhost"}, "Addresses to listen on (comma separated). Only accepts IP addresses or localhost as a value.")
	return cmd
}
