// Package cmd is the commands of kubectl-sandbox: flags, and what each prints. What it asks for is in clients/go.
package cmd

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/go/clientset/versioned"
	"sandbox-apiserver.local/clients/go/sandbox"
)

const group = "sandbox.x-k8s.io"

// plugin is what all commands share.
type plugin struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
}

// asked is a cluster, as one user, in one namespace.
type asked struct {
	config    *rest.Config
	namespace string
	actions   *sandbox.Client
	objects   versioned.Interface
	core      kubernetes.Interface
}

func (p *plugin) connect() (*asked, error) {
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	// A handful of requests a command: nothing to slow down.
	config.QPS = -1
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	a := &asked{config: config, namespace: namespace}
	if a.actions, err = sandbox.New(config, namespace); err != nil {
		return nil, err
	}
	if a.objects, err = versioned.NewForConfig(config); err != nil {
		return nil, err
	}
	a.core, err = kubernetes.NewForConfig(config)
	return a, err
}

// New is the whole command.
func New(in io.Reader, out, errOut io.Writer) *cobra.Command {
	p := &plugin{genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut}, genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:   "sandbox",
		Short: "Claim sandboxes, and use them",
		Long: `Claim sandboxes, and use them.

 NAME is a Sandbox or a SandboxClaim: "sandbox/NAME" and "claim/NAME" say which; without that a Sandbox of the name is
taken, and a claim where there is none. No right on Pods is needed.`,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl sandbox"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cmdutil.UsageErrorf(cmd, "unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return cmdutil.UsageErrorf(cmd, "%v", err) })
	p.flags.AddFlags(root.PersistentFlags())
	_ = root.RegisterFlagCompletionFunc("namespace", p.completeNamespaces)
	for _, add := range []func(*plugin) *cobra.Command{
		newRun, newClaim, newRelease, newExec, newAttach, newCopy, newLogs, newPortForward,
		newSuspend, newResume, newRestart, newTop, newTree, newDoctor,
	} {
		root.AddCommand(add(p))
	}
	return root
}

// asking does its work with the cluster that the flags name, until it is interrupted.
func (p *plugin) asking(work func(context.Context, *asked) error) error {
	a, err := p.connect()
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	return work(ctx, a)
}

// at is asking with what the user calls by a name.
func (p *plugin) at(name string, work func(context.Context, *asked, sandbox.Target) error) error {
	return p.asking(func(ctx context.Context, a *asked) error {
		target, err := a.target(ctx, name)
		if err != nil {
			return err
		}
		return work(ctx, a, target)
	})
}

// interruptible is cancelled by the signals that end a command. A second one ends it at once.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// usage makes the check of arguments answer as kubectl's do.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return cmdutil.UsageErrorf(cmd, "%v", err)
		}
		return nil
	}
}
