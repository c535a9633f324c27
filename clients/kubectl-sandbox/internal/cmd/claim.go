package cmd

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/clientset/versioned/scheme"
	"sandbox-apiserver.local/clients/go/sandbox"
)

// claimFlags are what a claim asks for.
type claimFlags struct {
	onEmptyPool  string
	replicas     int32
	key          string
	lifetime     time.Duration
	afterwards   string
	timeout      time.Duration
	labels, envs map[string]string
}

func (f *claimFlags) add(cmd *cobra.Command, timeout time.Duration) {
	flags := cmd.Flags()
	flags.StringVar(&f.onEmptyPool, "on-empty-pool", "", "What happens where no stock is ready: ColdStart, Fail or Wait. ColdStart if not set.")
	flags.DurationVar(&f.timeout, "timeout", timeout, "The longest to wait.")
	flags.StringToStringVarP(&f.labels, "labels", "l", nil, "Labels for the claim's Pod, as key=value.")
	flags.StringToStringVar(&f.envs, "env", nil, "Environment variables, as key=value, where the template allows it. They force a cold start.")
	_ = cmd.RegisterFlagCompletionFunc("on-empty-pool", cobra.FixedCompletions([]string{"ColdStart", "Fail", "Wait"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *claimFlags) claim(name string) *v1beta1.SandboxClaim {
	claim := &v1beta1.SandboxClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	claim.Spec.OnEmptyPool = v1beta1.OnEmptyPool(f.onEmptyPool)
	claim.Spec.IdempotencyKey = f.key
	if f.replicas > 1 {
		claim.Spec.Replicas = &f.replicas
	}
	if f.lifetime > 0 {
		claim.Spec.Lifecycle = &v1beta1.ClaimLifecycle{
			ShutdownTime:   &metav1.Time{Time: time.Now().Add(f.lifetime)},
			ShutdownPolicy: v1beta1.ClaimShutdownPolicy(f.afterwards),
		}
	}
	if len(f.labels) > 0 {
		claim.Spec.AdditionalPodMetadata = &v1beta1.PodMetadata{Labels: f.labels}
	}
	for name, value := range f.envs {
		claim.Spec.Env = append(claim.Spec.Env, v1beta1.EnvVar{Name: name, Value: value})
	}
	return claim
}

// make claims from a pool and waits as it is told to, saying what it waits for.
func (p *plugin) make(ctx context.Context, a *asked, pool string, claim *v1beta1.SandboxClaim, wait string, timeout time.Duration, dryRun bool) (*v1beta1.SandboxClaim, error) {
	options := sandbox.ClaimOptions{DryRun: dryRun}
	told := func() string { return "the server did not answer" }
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch wait {
	case "ready":
		options.Ready = &sandbox.Wait{Timeout: min(attempt, timeout)}
	case "bound":
		options.Bound = &sandbox.Wait{Timeout: min(attempt, timeout)}
	}
	if wait != "none" && !dryRun {
		// Each attempt finds the claim of the first by its key; the time is what ends them.
		options.Attempts = 1 << 20
		progress := p.begin(fmt.Sprintf("claim %s", claim.Name))
		defer progress.end()
		told = progress.told
		watching, stop := context.WithCancel(limited)
		defer stop()
		go a.tellOf(watching, claim.Name, progress)
	}
	bound, err := a.actions.Claim(limited, pool, claim, options)
	if err != nil && ctx.Err() == nil && (limited.Err() != nil || apierrors.IsTimeout(err)) {
		return nil, fmt.Errorf("timed out waiting for claim %q to be %s: %s", claim.Name, wait, told())
	}
	return bound, err
}

// tellOf a claim what its Ready says, as far as the user may look at it.
func (a *asked) tellOf(ctx context.Context, name string, progress *progress) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(patience):
		}
		text := "waiting"
		claim, err := a.objects.SandboxV1beta1().SandboxClaims(a.namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			if ready := condition(claim.Status.Conditions, "Ready"); ready != nil {
				text = ready.Message
			}
			if position := claim.Status.QueuePosition; position != nil {
				text = fmt.Sprintf("%s (%d before it)", text, *position)
			}
		}
		progress.say(text)
	}
}

func newClaim(p *plugin) *cobra.Command {
	var flags claimFlags
	var wait string
	var dryRun bool
	output := genericclioptions.NewPrintFlags("claimed").WithTypeSetter(scheme.Scheme)
	cmd := &cobra.Command{
		Use:   "claim POOL [NAME]",
		Short: "Claim a sandbox from a warm pool",
		Long: `Claim a sandbox from a warm pool, in one request.

 The request is repeated when its answer is lost, and never claims twice.`,
		Example: `  # A sandbox that is ready
  kubectl sandbox claim agents

  # Its claim's name, for a script
  claim=$(kubectl sandbox claim agents -o name)

  # Ten at once or none, where there is stock
  kubectl sandbox claim agents batch --replicas=10 --on-empty-pool=Fail

  # For an hour
  kubectl sandbox claim agents --shutdown-after=1h`,
		Args:              usage(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: p.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait != "none" && wait != "bound" && wait != "ready" {
				return cmdutil.UsageErrorf(cmd, "--wait must be none, bound or ready, not %q", wait)
			}
			print, err := printer(output, p.Out)
			if err != nil {
				return err
			}
			return p.asking(func(ctx context.Context, a *asked) error {
				name := args[0] + "-" + utilrand.String(5)
				if len(args) > 1 {
					name = args[1]
				}
				claim, err := p.make(ctx, a, args[0], flags.claim(name), wait, flags.timeout, dryRun)
				if err != nil {
					if _, missing := a.objects.SandboxV1beta1().SandboxClaims(a.namespace).Get(context.WithoutCancel(ctx), name, metav1.GetOptions{}); missing == nil {
						fmt.Fprintf(p.ErrOut, "sandboxclaim.%s/%s is there and may still be bound; release it, or claim it again by its name\n", group, name)
					}
					return err
				}
				return print(claim, dryRun)
			})
		},
	}
	flags.add(cmd, 2*time.Minute)
	cmd.Flags().Int32Var(&flags.replicas, "replicas", 1, "How many sandboxes to claim, all or none.")
	cmd.Flags().StringVar(&flags.key, "idempotency-key", "", "A key by which a repeated request finds what the first has claimed. A new one if not set.")
	cmd.Flags().DurationVar(&flags.lifetime, "shutdown-after", 0, "How long the claim lasts; 0 is until it is released.")
	cmd.Flags().StringVar(&flags.afterwards, "shutdown-policy", string(v1beta1.ClaimDelete), "What becomes of it then: Delete, DeleteForeground or Retain.")
	cmd.Flags().StringVar(&wait, "wait", "ready", "What to wait for: none, bound or ready.")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Say what would be claimed.")
	output.AddFlags(cmd)
	return cmd
}

// printer of claims: in kubectl's forms, or a line each with what there is to know.
func printer(flags *genericclioptions.PrintFlags, out io.Writer) (func(*v1beta1.SandboxClaim, bool) error, error) {
	format := *flags.OutputFormat
	if format != "" && format != "wide" {
		printer, err := flags.ToPrinter()
		if err != nil {
			return nil, err
		}
		return func(claim *v1beta1.SandboxClaim, _ bool) error {
			var object runtime.Object = claim
			return printer.PrintObj(object, out)
		}, nil
	}
	return func(claim *v1beta1.SandboxClaim, dryRun bool) error {
		suffix := ""
		if dryRun {
			suffix = " (dry run)"
		}
		var parts []string
		for _, one := range bound(claim) {
			known := []string{"sandbox " + one.Name, strings.ToLower(string(one.LaunchType))}
			if format == "wide" {
				known = append(known, one.NodeName, strings.Join(one.PodIPs, " "), one.ServiceFQDN)
			}
			known = slices.DeleteFunc(known, func(text string) bool { return text == "" })
			parts = append(parts, strings.Join(known, ", "))
		}
		if len(parts) == 0 {
			parts = []string{"waits for stock"}
		}
		_, err := fmt.Fprintf(out, "sandboxclaim.%s/%s claimed%s: %s\n", group, claim.Name, suffix, strings.Join(parts, "; "))
		return err
	}, nil
}

func newRelease(p *plugin) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "release CLAIM...",
		Short:             "Release claims, and with them their sandboxes",
		Example:           `  kubectl sandbox release my-claim`,
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: p.completeClaims,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.asking(func(ctx context.Context, a *asked) error {
				for _, text := range args {
					it, err := parseName(text)
					if err == nil && it.isSure && !it.isClaim {
						err = fmt.Errorf("%q is not a claim", text)
					}
					if err == nil {
						// One that is not there is a mistake here, as with kubectl delete.
						err = a.objects.SandboxV1beta1().SandboxClaims(a.namespace).Delete(ctx, it.name, metav1.DeleteOptions{})
					}
					if err != nil {
						return err
					}
					fmt.Fprintf(p.Out, "sandboxclaim.%s/%s released\n", group, it.name)
				}
				return nil
			})
		},
	}
	return cmd
}
