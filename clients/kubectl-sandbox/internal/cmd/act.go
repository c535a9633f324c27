package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/sandbox"
)

// attempt is the longest that one request waits; the server's limit is 55 s.
const attempt = 30 * time.Second

type action struct {
	verb, done, short, long string
	act                     func(*sandbox.Client, context.Context, string, *sandbox.Wait) (*v1beta1.Sandbox, error)
}

func newSuspend(p *plugin) *cobra.Command {
	return p.newAction(action{
		verb: "suspend", done: "suspended", short: "Suspend a sandbox: its Pod goes, its volumes and its name stay",
		act: (*sandbox.Client).Suspend,
	})
}

func newResume(p *plugin) *cobra.Command {
	return p.newAction(action{
		verb: "resume", done: "resumed", short: "Resume a sandbox that is suspended",
		long: "\n\n Whatever uses a sandbox resumes it, too: exec, attach, port-forward.",
		act:  (*sandbox.Client).Resume,
	})
}

func newRestart(p *plugin) *cobra.Command {
	return p.newAction(action{
		verb: "restart", done: "restarted", short: "Replace the Pod of a sandbox",
		act: func(client *sandbox.Client, ctx context.Context, name string, _ *sandbox.Wait) (*v1beta1.Sandbox, error) {
			return client.Restart(ctx, name)
		},
	})
}

// newAction makes a command that does something to Sandboxes by name, and to all of a claim's.
func (p *plugin) newAction(what action) *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   what.verb + " NAME...",
		Short: what.short,
		Long:  what.short + "." + what.long,
		Example: fmt.Sprintf(`  kubectl sandbox %[1]s my-sandbox

  # All of a claim's, and wait until it is done
  kubectl sandbox %[1]s claim/my-claim --wait`, what.verb),
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: p.completeAllTargets,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.asking(func(ctx context.Context, a *asked) error {
				var failed []error
				for _, text := range args {
					names, err := a.sandboxes(ctx, text)
					if err != nil {
						failed = append(failed, err)
					}
					for _, name := range names {
						before, err := what.act(a.actions, ctx, name, nil)
						if err == nil && wait {
							err = p.settled(ctx, a, what.verb, before, timeout)
						}
						if err != nil {
							failed = append(failed, err)
							continue
						}
						fmt.Fprintf(p.Out, "sandbox.%s/%s %s\n", group, name, what.done)
					}
				}
				if len(failed) == 1 {
					return failed[0]
				}
				return errors.Join(failed...)
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "Wait until it is done.")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "The longest to wait.")
	return cmd
}

// settled waits until the Sandbox is as it was asked to be.
func (p *plugin) settled(ctx context.Context, a *asked, verb string, before *v1beta1.Sandbox, timeout time.Duration) error {
	last := "nothing is known of it"
	wanted := map[string]string{"suspend": "Suspended"}[verb]
	if wanted == "" {
		wanted = "Ready"
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	progress := p.begin(fmt.Sprintf("sandbox %s", before.Name))
	defer progress.end()
	for {
		now, err := a.objects.SandboxV1beta1().Sandboxes(a.namespace).Get(ctx, before.Name, metav1.GetOptions{})
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil:
			condition := condition(now.Status.Conditions, wanted)
			// What was so before it was asked for does not count.
			isNew := now.Status.ObservedGeneration >= before.Generation &&
				(verb != "restart" || !now.Status.StartTime.Equal(before.Status.StartTime))
			if condition != nil && condition.Status == metav1.ConditionTrue && isNew {
				return nil
			}
			if condition != nil {
				last = condition.Message
			}
			progress.say(last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting for sandbox %q to %s: %s", before.Name, verb, last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func condition(all []metav1.Condition, kind string) *metav1.Condition {
	for i := range all {
		if all[i].Type == kind {
			return &all[i]
		}
	}
	return nil
}
