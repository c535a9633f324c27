package cmd

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/remotecommand"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/term"

	"sandbox-apiserver.local/clients/go/sandbox"
)

// ofContainer says what -c means.
const ofContainer = "Container name. If omitted, the one of the annotation kubectl.kubernetes.io/default-container, or else the first."

// streamFlags are those of kubectl's exec and attach.
type streamFlags struct {
	container         string
	stdin, tty, quiet bool
}

func (f *streamFlags) add(cmd *cobra.Command, p *plugin) {
	flags := cmd.Flags()
	flags.StringVarP(&f.container, "container", "c", "", ofContainer)
	flags.BoolVarP(&f.stdin, "stdin", "i", false, "Pass stdin to the container.")
	flags.BoolVarP(&f.tty, "tty", "t", false, "Stdin is a TTY.")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "Only print output from the remote session.")
	_ = cmd.RegisterFlagCompletionFunc("container", p.completeContainers)
}

// connected runs a stream between the user's terminal, raw if it is to be one, and the container.
func (p *plugin) connected(f streamFlags, stream func(sandbox.ExecOptions) error) error {
	options := sandbox.ExecOptions{Stdout: p.Out, Stderr: p.ErrOut, Container: f.container}
	terminal := term.TTY{Out: p.Out}
	if f.stdin {
		terminal.In, options.Stdin = p.In, p.In
	}
	if f.tty && f.stdin {
		if terminal.IsTerminalIn() {
			terminal.Raw, options.TTY = true, true
			if queue := terminal.MonitorSize(terminal.GetSize()); queue != nil {
				options.Resize = sizes{queue}
			}
		} else if !f.quiet {
			fmt.Fprintln(p.ErrOut, "Unable to use a TTY - input is not a terminal or the right kind of file")
		}
	}
	return terminal.Safe(func() error { return stream(options) })
}

// sizes is kubectl's queue as client-go's.
type sizes struct{ term.TerminalSizeQueue }

func (s sizes) Next() *remotecommand.TerminalSize {
	next := s.TerminalSizeQueue.Next()
	if next == nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: next.Width, Height: next.Height}
}

func newExec(p *plugin) *cobra.Command {
	var flags streamFlags
	cmd := &cobra.Command{
		Use:   "exec NAME [-c CONTAINER] [-i] [-t] -- COMMAND [args...]",
		Short: "Execute a command in a sandbox",
		Long: `Execute a command in a sandbox, and exit with its exit code.

 One that is suspended is resumed, which takes the right to create sandboxes/resume.`,
		Example: `  # The date in a sandbox
  kubectl sandbox exec my-sandbox -- date

  # A shell
  kubectl sandbox exec -it claim/my-claim -- sh

  # A file into it
  kubectl sandbox exec -i my-sandbox -- sh -c 'cat > /workspace/in' < in`,
		ValidArgsFunction: p.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			switch {
			case len(args) == 0 || dash == 0:
				return cmdutil.UsageErrorf(cmd, "a sandbox or a claim must be specified")
			case dash > 1 || dash < 0 && len(args) > 1:
				return cmdutil.UsageErrorf(cmd, "exec [NAME] [COMMAND] is not supported: use exec [NAME] -- [COMMAND]")
			case len(args) < 2:
				return cmdutil.UsageErrorf(cmd, "you must specify at least one command for the container")
			}
			return p.at(args[0], func(ctx context.Context, a *asked, target sandbox.Target) error {
				return p.connected(flags, func(options sandbox.ExecOptions) error {
					return a.actions.Exec(ctx, target, args[1:], options)
				})
			})
		},
	}
	flags.add(cmd, p)
	return cmd
}

func newAttach(p *plugin) *cobra.Command {
	var flags streamFlags
	cmd := &cobra.Command{
		Use:   "attach NAME [-c CONTAINER] [-i] [-t]",
		Short: "Attach to the process that a sandbox runs",
		Example: `  # What it says from now on
  kubectl sandbox attach my-sandbox

  # And what is typed, where the container has a terminal
  kubectl sandbox attach -it my-sandbox`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: p.completeTargets,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.at(args[0], func(ctx context.Context, a *asked, target sandbox.Target) error {
				if flags.stdin && !flags.quiet {
					fmt.Fprintln(p.ErrOut, "If you don't see a command prompt, try pressing enter.")
				}
				return p.connected(flags, func(options sandbox.ExecOptions) error {
					return a.actions.Attach(ctx, target, options)
				})
			})
		},
	}
	flags.add(cmd, p)
	return cmd
}

// copyLines passes a stream on until it ends or the user has had enough.
func copyLines(ctx context.Context, to io.Writer, from io.ReadCloser) error {
	stop := context.AfterFunc(ctx, func() { _ = from.Close() })
	defer stop()
	_, err := io.Copy(to, from)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
