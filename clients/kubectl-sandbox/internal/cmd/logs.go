package cmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/go/sandbox"
)

func newLogs(p *plugin) *cobra.Command {
	var options corev1.PodLogOptions
	var since time.Duration
	var sinceTime string
	var tail, limit int64
	cmd := &cobra.Command{
		Use:   "logs NAME [-c CONTAINER] [-f]",
		Short: "Print the log of a sandbox",
		Example: `  # All of it
  kubectl sandbox logs my-sandbox

  # The last lines, and what follows
  kubectl sandbox logs -f --tail=20 claim/my-claim

  # Why the container was restarted
  kubectl sandbox logs -p my-sandbox`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			if since != 0 && sinceTime != "" {
				return cmdutil.UsageErrorf(cmd, "at most one of --since and --since-time may be used")
			}
			if since < 0 {
				return cmdutil.UsageErrorf(cmd, "--since must be greater than 0")
			}
			if since > 0 {
				// Whole seconds: rather too much than too little.
				options.SinceSeconds = new(int64((since + time.Second - 1) / time.Second))
			}
			if sinceTime != "" {
				at, err := time.Parse(time.RFC3339, sinceTime)
				if err != nil {
					return cmdutil.UsageErrorf(cmd, "--since-time must be in RFC 3339: %v", err)
				}
				options.SinceTime = &metav1.Time{Time: at}
			}
			if tail >= 0 {
				options.TailLines = &tail
			}
			if limit > 0 {
				options.LimitBytes = &limit
			}
			return p.at(args[0], func(ctx context.Context, a *asked, target sandbox.Target) error {
				log, err := a.actions.Logs(ctx, target, &options)
				if err != nil {
					return err
				}
				defer log.Close()
				return copyLines(ctx, p.Out, log)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&options.Container, "container", "c", "", "Print the logs of this container.")
	flags.BoolVarP(&options.Follow, "follow", "f", false, "Specify if the logs should be streamed.")
	flags.BoolVarP(&options.Previous, "previous", "p", false, "If true, print the logs for the previous instance of the container.")
	flags.BoolVar(&options.Timestamps, "timestamps", false, "Include timestamps on each line.")
	flags.DurationVar(&since, "since", 0, "Only return logs newer than a relative duration like 5s, 2m, or 3h.")
	flags.StringVar(&sinceTime, "since-time", "", "Only return logs after a specific date (RFC3339).")
	flags.Int64Var(&tail, "tail", -1, "Lines of recent log to display; -1 is all.")
	flags.Int64Var(&limit, "limit-bytes", 0, "Maximum bytes of logs to return; 0 is no limit.")
	_ = cmd.RegisterFlagCompletionFunc("container", p.completeContainers)
	return cmd
}
